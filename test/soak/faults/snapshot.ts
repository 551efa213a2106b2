import type { Fault } from './fault.js';

export const snapshot: Fault = {
  name: 'snapshot',
  does: 'somebody holds a snapshot and a transaction id, so that vacuum cleans nothing',
  heals: 'the transaction ends',
  seconds: [10, 25],
  isOutage: false,
  begin: async (stage) => {
    const client = await stage.connect();
    await client.query('begin isolation level repeatable read');
    await client.query('select txid_current(), (select count(*) from towpath.message)');
    return {
      hit: 'PostgreSQL',
      heal: async () => {
        await client.query('rollback');
        await client.end();
        return null;
      },
    };
  },
};
