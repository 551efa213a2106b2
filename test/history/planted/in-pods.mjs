// Loaded by pods before anything else (node --import): breaks the one thing that PLANTED_BUG names, in the built program.
import 'reflect-metadata';
import { setTimeout as sleep } from 'node:timers/promises';

const dist = new URL('../../../dist/', import.meta.url);

/** Replaces a method; `change` is given the one that was there. */
async function plant(file, name, method, change) {
  const { [name]: Class } = await import(new URL(file, dist));
  const original = Class?.prototype[method];
  if (typeof original !== 'function')
    throw new Error(`${file} has no ${name}.${method} any more: plant the bug elsewhere`);
  Class.prototype[method] = change(original);
}

const PLANTS = {
  // Of puts and deletes, REST's and STOMP's. The commit comes late, so that a pod that is killed has it under way.
  'early answer': () =>
    plant(
      'database/database.js',
      'Database',
      'run',
      (run) =>
        async function (statement, values) {
          if (!/^(?:put|delete)_/.test(statement.name)) return run.call(this, statement, values);
          const client = await this.connect();
          const leave = () => client.release(true);
          try {
            await client.query('begin');
            const { rows } = await client.query({ ...statement, values: [...values] });
            const committing = sleep(300).then(() => client.query('commit'));
            committing.then(() => client.release(), leave);
            return rows;
          } catch (error) {
            leave();
            throw error;
          }
        },
    ),
  // What is late, so late that a pod that is killed has some of it under way.
  'early receipt': () =>
    plant(
      'stomp/send-lane.js',
      'SendLane',
      'add',
      (add) =>
        function (send) {
          send.stored();
          void sleep(1000).then(() => {
            add.call(this, { ...send, stored: () => undefined });
            this.start();
          });
        },
    ),
  'ack too much': () =>
    plant(
      'stomp/subscription.js',
      'Subscription',
      'upTo',
      () =>
        function () {
          return [...this.holdings.held].filter(({ isSettling }) => !isSettling);
        },
    ),
  'split transaction': () =>
    plant(
      'messages/transactions.service.js',
      'TransactionsService',
      'commit',
      (commit) =>
        async function (puts, settlements) {
          await commit.call(this, puts, []);
          // Longer than a timeout of a second, so that the second half comes too late for some.
          if (settlements.length > 0) await sleep(1200);
          await commit.call(this, [], settlements);
        },
    ),
  'release of what is settled': async () => {
    const settled = new WeakMap();
    await plant(
      'stomp/subscription.js',
      'Subscription',
      'settled',
      (settle) =>
        function (deliveries) {
          settled.set(this, [...(settled.get(this) ?? []), ...deliveries]);
          return settle.call(this, deliveries);
        },
    );
    await plant(
      'stomp/subscription.js',
      'Subscription',
      'release',
      (release) =>
        async function () {
          this.holdings.add(settled.get(this) ?? []);
          return release.call(this);
        },
    );
  },
};

await PLANTS[process.env.PLANTED_BUG]();
