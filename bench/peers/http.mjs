// Lives of messages (put, get, delete) over HTTP: of Towpath, and of the bare server that has nothing but the messages.
import path from 'node:path';
import { API, startPodProcess } from '../pod-process.mjs';
import { openRawClient } from '../raw-client.mjs';

/**
 * Peers have a name and give `clients`: functions that have one batch live and die, and resolve to how many messages that were.
 * A pod of Towpath: API key, policies, sealing and everything else as it is deployed.
 */
export async function openTowpath({ name = 'towpath', databaseUrl, dataDirectory, environment, script }) {
  const pod = await startPodProcess({ databaseUrl, dataDirectory, environment, script });
  const { apiKey, compartmentId } = pod.credentials;
  const open = () => openRawClient(pod.endpoint.port, { authorization: `Bearer ${apiKey}` });
  const main = open();
  const named = async (queueName) =>
    (await main('GET', `${API}/queues?compartmentId=${compartmentId}&displayName=${queueName}`)).items[0];
  return {
    name,
    cpuMs: pod.cpuMs,
    metrics: () => main('GET', '/metrics'),
    /** For requests of any other sort: `client`, as openRawClient gives it, and the path of a queue that there is. */
    operator: async (queueName) => ({ client: open(), queue: `${API}/queues/${(await named(queueName)).id}` }),
    async clients(count, queueName, bytes, settings = {}) {
      const find = () => named(queueName);
      // Another pod of the same database may have made it.
      if ((await find()) === undefined) {
        const details = { displayName: queueName, compartmentId, visibilityInSeconds: 300, ...settings };
        await main('POST', `${API}/queues`, JSON.stringify(details));
      }
      const target = `${API}/queues/${(await find()).id}/messages`;
      return Array.from({ length: count }, () => {
        const client = open();
        return {
          close: client.close,
          live: (batch) => live(client, target, '&timeoutInSeconds=0', batch, bytes),
          put: (batch) => put(client, target, batch, bytes),
        };
      });
    },
    async stop() {
      main.close();
      await pod.stop();
    },
  };
}

/** Fastify and pg, merged statements, and nothing else: what HTTP and the database leave room for. */
export async function openBareServer({ databaseUrl, dataDirectory }) {
  const script = path.resolve(import.meta.dirname, 'bare-server.mjs');
  const server = await startPodProcess({ script, databaseUrl, dataDirectory });
  return {
    name: 'bare server',
    cpuMs: server.cpuMs,
    clients: (count, _queueName, bytes) =>
      Array.from({ length: count }, () => {
        const client = openRawClient(server.endpoint.port);
        return { close: client.close, live: (batch) => live(client, '/messages', '', batch, bytes) };
      }),
    stop: server.stop,
  };
}

async function put(client, target, batch, bytes) {
  const content = 'x'.repeat(bytes);
  await client('POST', target, JSON.stringify({ messages: Array.from({ length: batch }, () => ({ content })) }));
  return batch;
}

async function live(client, target, query, batch, bytes) {
  await put(client, target, batch, bytes);
  for (let left = batch; left > 0;) {
    const { messages } = await client('GET', `${target}?limit=${left}${query}`);
    left -= messages.length;
    if (messages.length === 1) {
      const [{ receipt, id }] = messages;
      await client('DELETE', `${target}/${receipt ?? id}`);
    } else if (messages.length > 1) {
      const details = messages.every(({ receipt }) => receipt === undefined)
        ? { ids: messages.map(({ id }) => id) }
        : { entries: messages.map(({ receipt }) => ({ receipt })) };
      await client('POST', `${target}/actions/deleteMessages`, JSON.stringify(details));
    }
  }
  return batch;
}
