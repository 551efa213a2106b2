// What a put of one message costs by how its caller proves who they are, and by how many policies there are: with an API
// key, with an OCI request signature, with a token of an OIDC issuer, and with an API key of a user whose right comes from the last
// of 500 statements. The kinds alternate in slices, in one run, over kept connections with one put each under way. The pod is a process
// of its own; signatures are made beforehand, some per slice, since what signing costs the client is not measured. Ends by itself.
//
//   npm run bench:authentication     20 s on an embedded server of its own, durable commits
//   BENCH_SECONDS=60 BENCH_CONNECTIONS=64 …
//   BENCH_FSYNC=off …                commits that wait for no disk, so that the pod is what limits
import { createHash, createPrivateKey, sign } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { Agent, createServer } from 'node:http';
import path from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { startEmbeddedPostgres } from '../dist/embedded-postgres/embedded-postgres.js';
import { API, bearer, send, startPodProcess } from './pod-process.mjs';
import { machine, makeFolder, percentile, say } from './support.mjs';

const SECONDS = Number(process.env.BENCH_SECONDS ?? 20);
const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 16);
const FSYNC = process.env.BENCH_FSYNC ?? 'on';
const SLICE_MS = 250;
const SIGNATURES = 20;
const POLICIES = 10;
const STATEMENTS = 50;
const BYTES = 200;
const AUDIENCE = 'bench';

const rate = ({ ms, latencies }) => (latencies.length / ms) * 1000;
const perPut = ({ cpu, latencies }) => cpu / latencies.length;

const issuer = await startIssuer();
const folder = await makeFolder();
// A folder of its own: in a closed one the server, which has another user, would put its data elsewhere.
const dataDirectory = await makeFolder();
const server = await startEmbeddedPostgres({ dataDirectory, settings: { fsync: FSYNC, max_wal_size: '8GB' } });
const pod = await startPodProcess({
  databaseUrl: server.url,
  dataDirectory: path.join(folder, 'pod'),
  environment: {
    TOWPATH_OIDC_ISSUER: issuer.url,
    TOWPATH_OIDC_AUDIENCE: AUDIENCE,
    TOWPATH_OIDC_USER_CLAIM: 'name',
  },
});
try {
  const { endpoint, credentials, cpuMs } = pod;
  const privateKey = createPrivateKey(await readFile(path.join(folder, 'pod', 'oci', 'key.pem'), 'utf8'));
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const call = async (method, target, body, headers = bearer(credentials.apiKey)) => {
    const answer = await send(endpoint, agent, method, target, headers, body);
    if (answer.status >= 300) throw new Error(`${method} ${target}: ${answer.status} ${answer.text}`);
    return answer;
  };
  const create = async (target, body) => JSON.parse((await call('POST', target, JSON.stringify(body))).text);

  const { compartmentId, tenancyId } = credentials;
  await call('POST', '/queues', JSON.stringify({ displayName: 'bench', compartmentId }));
  const [queue] = JSON.parse((await call('GET', `/queues?compartmentId=${compartmentId}`)).text).items;
  const target = `/queues/${queue.id}/messages`;
  const body = JSON.stringify({ messages: [{ content: 'x'.repeat(BYTES) }] });
  const user = await create('/users', { name: 'producer' });
  const group = await create('/groups', { name: 'Producers' });
  await call('PUT', `/groups/${group.id}/members/${user.id}`);
  const { key } = await create(`/users/${user.id}/apiKeys`, {});
  // Those before the last are about other queues.
  for (let policy = 1; policy <= POLICIES; policy += 1) {
    const statements = Array.from({ length: STATEMENTS }, (_, at) => {
      const name = policy === POLICIES && at === STATEMENTS - 1 ? 'bench' : `other-${policy}-${at}`;
      return `allow group Producers to use queue-push in tenancy where target.queue.name = '${name}'`;
    });
    await create('/policies', { compartmentId: tenancyId, name: `policy-${policy}`, statements });
  }

  const token = await issuer.token(JSON.parse((await call('GET', `/users/${credentials.userId}`)).text).name);
  const kinds = {
    'API key': () => [bearer(credentials.apiKey)],
    'request signature': () => Array.from({ length: SIGNATURES }, () => signed(target, body)),
    'OIDC token (RS256)': () => [bearer(token)],
    'API key, right by the last of 500 statements': () => [bearer(key)],
    'API key, once more': () => [bearer(credentials.apiKey)],
  };
  function signed(of, content) {
    const headers = {
      date: new Date().toUTCString(),
      host: endpoint.host,
      'content-length': String(Buffer.byteLength(content)),
      'content-type': 'application/json',
      'x-content-sha256': createHash('sha256').update(content).digest('base64'),
    };
    const list = ['date', '(request-target)', 'host', 'content-length', 'content-type', 'x-content-sha256'];
    const text = list.map((name) => (name in headers ? `${name}: ${headers[name]}` : `${name}: post ${API}${of}`));
    const signature = sign('RSA-SHA256', Buffer.from(text.join('\n')), privateKey).toString('base64');
    const keyId = `${tenancyId}/${credentials.userId}/${credentials.fingerprint}`;
    return {
      ...headers,
      authorization: `Signature version="1",keyId="${keyId}",algorithm="rsa-sha256",headers="${list.join(' ')}",signature="${signature}"`,
    };
  }

  async function slice(headersOf) {
    const all = headersOf();
    const latencies = [];
    const cpu = cpuMs();
    const start = performance.now();
    const until = start + SLICE_MS;
    const client = async (_, index) => {
      for (let sent = index; performance.now() < until; sent += 1) {
        const begun = performance.now();
        await call('POST', target, body, all[sent % all.length]);
        latencies.push(performance.now() - begun);
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, client));
    return { ms: performance.now() - start, cpu: cpuMs() - cpu, latencies };
  }

  say(
    `PostgreSQL 18 embedded, fsync ${FSYNC}, ${machine()}; client, pod and server on this machine, ${CONNECTIONS} connections, ` +
      `1 message of ${BYTES} bytes per put, slices of ${SLICE_MS} ms in turn for ${SECONDS} s`,
  );
  const taken = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, { ms: 0, cpu: 0, latencies: [] }]));
  // The first slices compile and fill caches.
  for (let round = 0; round < 4; round += 1) for (const headersOf of Object.values(kinds)) await slice(headersOf);
  for (let spent = 0; spent < SECONDS * 1000; spent += SLICE_MS * Object.keys(kinds).length) {
    for (const [kind, headersOf] of Object.entries(kinds)) {
      const { ms, cpu, latencies } = await slice(headersOf);
      taken[kind].ms += ms;
      taken[kind].cpu += cpu;
      taken[kind].latencies.push(...latencies);
    }
  }
  const [plain] = Object.values(taken);
  for (const [kind, each] of Object.entries(taken)) {
    say(
      `  ${kind}: ${rate(each).toFixed(0)} puts/s, p50 ${percentile(each.latencies, 0.5).toFixed(2)} ms, ` +
        `p99 ${percentile(each.latencies, 0.99).toFixed(2)} ms; ratio to the first: ${(rate(each) / rate(plain)).toFixed(2)}; ` +
        `processor time of the pod ${perPut(each).toFixed(3)} ms a put, ratio of what one processor does: ${(perPut(plain) / perPut(each)).toFixed(2)}`,
    );
  }
  say(`  the issuer was asked ${issuer.asked()} times`);
  agent.destroy();
} finally {
  await pod.stop();
  await server.stop();
  issuer.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  await rm(dataDirectory, { recursive: true, force: true, maxRetries: 5 });
}

/** As much of an issuer as a pod asks for: its discovery document and its keys. */
async function startIssuer() {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' };
  let asked = 0;
  let url = '';
  const listening = createServer((request, response) => {
    asked += 1;
    const document = request.url === '/jwks' ? { keys: [jwk] } : { issuer: url, jwks_uri: `${url}/jwks` };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document));
  });
  await new Promise((resolve) => {
    listening.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${listening.address().port}`;
  return {
    url,
    asked: () => asked,
    token: (name) =>
      new SignJWT({ name })
        .setProtectedHeader({ alg: 'RS256', kid: 'bench' })
        .setIssuer(url)
        .setAudience(AUDIENCE)
        .setSubject('bench')
        .setExpirationTime('1h')
        .sign(privateKey),
    stop: () => {
      listening.closeAllConnections();
      listening.close();
    },
  };
}
