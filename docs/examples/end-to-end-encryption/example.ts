// Producer and consumer that the service cannot listen to, with keys that rotate. Beside a service that runs:
//
//   node docs/examples/end-to-end-encryption/example.ts        TOWPATH_DATA=.towpath if absent
import { readFileSync } from 'node:fs';
import path from 'node:path';
import common from 'oci-common';
import queue from 'oci-queue';
import { makeKeyPair, openingKeys, sealingKey } from './keys.ts';
import { consumeSealed, putSealed } from './rest.ts';

const data = process.env['TOWPATH_DATA'] ?? '.towpath';
const { endpoint, compartmentId } = JSON.parse(readFileSync(path.join(data, 'credentials.json'), 'utf8')) as {
  endpoint: string;
  compartmentId: string;
};
const authenticationDetailsProvider = new common.ConfigFileAuthenticationDetailsProvider(
  path.join(data, 'oci', 'config'),
  'DEFAULT',
);
const admin = new queue.QueueAdminClient({ authenticationDetailsProvider });
const client = new queue.QueueClient({ authenticationDetailsProvider });
admin.endpoint = endpoint;
client.endpoint = endpoint;

const created = await admin.createQueue({ createQueueDetails: { displayName: 'sealed', compartmentId } });
const { workRequest } = await admin.getWorkRequest({ workRequestId: created.opcWorkRequestId });
const queueId = workRequest.resources[0]?.identifier ?? '';
const sealed = { client, queueId, stream: 'invoices' };

// The consumer makes a key pair and gives its public half to producers.
const spring = await makeKeyPair('2026-spring');
await putSealed(sealed, await sealingKey(spring.publicJwk), [
  { content: 'invoice 1', secretProperties: { customer: 'Ana' }, openProperties: { kind: 'invoice' } },
]);

// Rotation: first the consumer has both keys, then producers change over. What was sealed before still opens.
const autumn = await makeKeyPair('2026-autumn');
const keys = await openingKeys([spring.privateJwk, autumn.privateJwk]);
await putSealed(sealed, await sealingKey(autumn.publicJwk), [{ content: 'invoice 2' }]);

let handled = 0;
while (handled < 2) {
  handled += await consumeSealed(
    sealed,
    keys,
    async ({ content, secretProperties }) => {
      console.log(`opened: ${content} ${JSON.stringify(secretProperties)}`);
    },
    (error, messageId) => console.error(`message ${messageId} stays: ${String(error)}`),
  );
}
// Only now, when nothing that was sealed for it is left, neither waiting nor dead, the old key may go.
admin.close();
client.close();
