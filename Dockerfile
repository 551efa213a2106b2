# A pod of Towpath. It needs DATABASE_URL: the embedded PostgreSQL is not in this image.
#
#   docker build -t towpath .
#
# Debian, not Alpine: nothing here is tested on musl.

FROM node:24-slim AS base
WORKDIR /app
COPY package.json package-lock.json ./

# Install scripts only fetch what the image does not need: another Node, the embedded PostgreSQL's links.
FROM base AS build
RUN npm ci --omit=optional --ignore-scripts
COPY tsconfig.json tsconfig.build.json nest-cli.json ./
COPY src ./src
RUN node node_modules/@nestjs/cli/bin/nest.js build

FROM base AS dependencies
RUN npm ci --omit=dev --omit=optional --ignore-scripts

FROM node:24-slim
# Process 1 that passes signals on and buries orphans.
RUN apt-get update \
  && apt-get install -y --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# package.json says that dist/ is ESM; the migrations are read at the start.
COPY package.json LICENSE ./
COPY migrations ./migrations
# The credentials of the first identity go here. An empty volume mounted here takes over the owner.
RUN install -d -o node -g node -m 0700 /var/lib/towpath
ENV NODE_ENV=production \
  TOWPATH_HOST=0.0.0.0 \
  TOWPATH_DATA_DIR=/var/lib/towpath
USER node
VOLUME /var/lib/towpath
EXPOSE 8080 61613
# Whether the process answers, never whether the database does: that is /readyz, for the load balancer. One that asks for
# a certificate of ours does answer. With TLS the image has no openssl: TOWPATH_TLS_SELF_SIGNED is for development outside of it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "const e = process.env; const tls = e.TOWPATH_TLS_CERT_FILE || e.TOWPATH_TLS_SELF_SIGNED === '1'; require(tls ? 'https' : 'http').get({ host: '127.0.0.1', port: e.TOWPATH_PORT || 8080, path: '/livez', rejectUnauthorized: false }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', ({ code }) => process.exit(/CERTIFICATE_REQUIRED/.test(code) ? 0 : 1))"]
ENTRYPOINT ["tini", "--"]
CMD ["node", "--enable-source-maps", "dist/main.js"]
