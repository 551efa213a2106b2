// One side of the load of bench/stomp.mjs in a process of its own: all producers or all consumers. It does what the messages of
// its parent say, one at a time, and answers each.
import { Consumer, Producer, StompClient } from './stomp-client.mjs';

const clients = new Map();
let cpu = process.cpuUsage();

const orders = {
  /** Connections to a broker, which stay open. */
  async open({ broker, role, count, bytes }) {
    const made = await Promise.all(
      Array.from({ length: count }, async () => {
        const client = await StompClient.connect(broker);
        client.onError = (text) => {
          process.stderr.write(`${broker.name} says ${text}\n`);
          process.exit(1);
        };
        return role === 'producers' ? new Producer(client, broker.send, bytes) : new Consumer(client, broker.subscribe);
      }),
    );
    clients.set(broker.name, made);
    return { server: made[0].client.server };
  },
  async subscribe({ name, prefetch }) {
    // The first makes the queue where there is none; RabbitMQ stumbles when several do so at once.
    const [first, ...others] = clients.get(name);
    await first.subscribe(prefetch);
    await Promise.all(others.map((consumer) => consumer.subscribe(prefetch)));
  },
  start({ name, window }) {
    cpu = process.cpuUsage();
    for (const producer of clients.get(name)) producer.start(window);
  },
  /** How many were confirmed since the connections were opened. */
  async stop({ name }) {
    await Promise.all(clients.get(name).map((producer) => producer.stop()));
    return { total: sum(name, 'confirmed'), cpuMs: cpuMs() };
  },
  /** Resolves when `total` messages have come and every ACK is carried out. */
  async consume({ name, total }) {
    const deadline = performance.now() + 60_000;
    while (sum(name, 'received') < total) {
      if (performance.now() > deadline) throw new Error(`${sum(name, 'received')} of ${total} messages have come`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(clients.get(name).map((consumer) => consumer.unsubscribe()));
    return { received: sum(name, 'received'), cpuMs: cpuMs() };
  },
  reset() {
    cpu = process.cpuUsage();
  },
};

const sum = (name, what) => clients.get(name).reduce((total, client) => total + client[what], 0);

function cpuMs() {
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / 1000;
}

process.on('message', ({ order, ...details }) => {
  Promise.resolve()
    .then(() => orders[order](details))
    .then(
      (answer) => process.send({ answer: answer ?? {} }),
      (error) => process.send({ error: String(error) }),
    );
});
