import path from 'node:path';
import type { FirstIdentity } from '../identity/first-identity.js';

/**
 * What a person sees at the start: where things are, and three commands that work as they stand. `showSecrets` false
 * leaves those out, and the key, for output that ends in somebody's log.
 */
export function banner(
  url: string,
  databaseUrl: string,
  dataDirectory: string,
  identity: FirstIdentity,
  showSecrets: boolean,
  /** The self-made certificate, which clients have to be told to trust; null: theirs is one that they know. */
  trust: string | null = null,
): string {
  const credentials = path.join(dataDirectory, 'credentials.json');
  const lines = ['', `  Towpath serves queues on ${url}`, ''];
  lines.push(`  API description   ${url}/docs`, `  Database          ${withoutPassword(databaseUrl)}`);
  if (trust !== null) lines.push(`  Certificate       ${trust} (self-made: clients have to be told to trust it)`);
  if (identity.credentials === null) {
    lines.push('', `  This pod works on a database that has its identities already; ${credentials} is not for it.`, '');
    return `${lines.join('\n')}\n`;
  }
  const { apiKey, compartmentId } = identity.credentials;
  lines.push(`  Credentials       ${credentials}`, `  SDK configuration ${path.join(dataDirectory, 'oci', 'config')}`);
  if (!showSecrets) return `${lines.join('\n')}\n\n`;
  lines.push(
    `  API key           ${apiKey}`,
    '',
    '  Three things to try:',
    '',
    '  1. Create a queue with curl:',
    '',
    `curl ${trust === null ? '' : `--cacert '${trust}' `}-si ${url}/20210201/queues -H 'Authorization: Bearer ${apiKey}' -H 'Content-Type: application/json' \\`,
    `  -d '{"displayName":"orders","compartmentId":"${compartmentId}"}'`,
    '',
    '  2. Put and get a message with Node:',
    '',
    `${trust === null ? '' : `NODE_EXTRA_CA_CERTS='${trust}' `}node --input-type=module <<'END'`,
    `const call = (method, path, body) => fetch('${url}/20210201' + path, {`,
    `  method, headers: { authorization: 'Bearer ${apiKey}', 'content-type': 'application/json' }, body });`,
    "const [queue] = (await (await call('GET', '/queues?displayName=orders')).json()).items;",
    "await call('POST', `/queues/${queue.id}/messages`, JSON.stringify({ messages: [{ content: 'hello' }] }));",
    "const { messages } = await (await call('GET', `/queues/${queue.id}/messages?limit=20`)).json();",
    'console.log(messages);',
    "for (const { receipt } of messages) await call('DELETE', `/queues/${queue.id}/messages/${receipt}`);",
    'END',
    '',
    '  3. Look into the tables with psql:',
    '',
    `psql '${databaseUrl}' -c 'select * from towpath.queue_stats'`,
    '',
    '  Ctrl-C stops everything.',
    '',
  );
  return `${lines.join('\n')}\n`;
}

function withoutPassword(databaseUrl: string): string {
  try {
    const url = new URL(databaseUrl);
    if (url.password !== '') url.password = '***';
    return url.href;
  } catch {
    // Forms that URL does not understand (several hosts) are not shown at all: a password may be in them.
    return 'as DATABASE_URL says';
  }
}
