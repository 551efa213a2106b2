import { untilDead } from '../../support/dead-letters.js';
import { digestOf, faultOfError, makeStranger } from '../support.js';
import type { Attack } from './attack.js';
import { describeHostileInput, LONG } from './support.js';

const RECEIPT_OPERATIONS = ['updateMessage', 'deleteMessage', 'updateMessages', 'deleteMessages'];

async function expectDead(attack: Attack, receipt: string): Promise<void> {
  const { pods, client, validator } = attack;
  for (const id of RECEIPT_OPERATIONS) {
    const operation = attack.operation(id);
    const isBatch = id.endsWith('s');
    const body = isBatch
      ? { entries: [{ receipt, visibilityInSeconds: 0 }] }
      : id === 'updateMessage'
        ? { visibilityInSeconds: 0 }
        : undefined;
    const path = attack.pathOf(operation, { messageReceipt: encodeURIComponent(receipt) });
    const call = { path, ...(body !== undefined && { body }) };
    const answer = await client.call({ method: operation.method, ...call });
    const told = isBatch
      ? { failures: answer.json?.['clientFailures'], fault: null }
      : { failures: [400, 404].includes(answer.status) ? 1 : 0, fault: faultOfError(answer) };
    expect([receipt, id, told]).toEqual([receipt, id, { failures: 1, fault: null }]);
    expect(validator.problemsOfAnswer(operation, answer)).toBeNull();
    expect(await digestOf(pods)).toBe(attack.digest);
  }
}

describeHostileInput((attack) => {
  it(
    'refuses forged and foreign receipts, and changes nothing',
    async () => {
      const { pods, client, fixture } = attack();
      const { compartmentId } = pods.credentials;
      const other = await client.createQueue({ compartmentId });
      await client.put(other, 'other');
      const [ofOther] = await client.get(other, 'visibilityInSeconds=43200');
      const stranger = await makeStranger(pods);
      await stranger.client.put(stranger.queueId, 'theirs');
      const [ofStranger] = await stranger.client.get(stranger.queueId, 'visibilityInSeconds=43200');
      stranger.client.close();
      const dying = await client.createQueue({ compartmentId, deadLetterQueueDeliveryCount: 1 });
      await client.put(dying, 'dying');
      const [ofDying] = await client.get(dying, 'visibilityInSeconds=0');
      await client.get(dying);
      await untilDead(pods.test, dying, 1);
      const page = String((await client.call({ path: '/queues?limit=1' })).headers['opc-next-page']);
      await attack().renewDigest();
      const { receipt } = fixture;
      const bytes = Buffer.from(receipt, 'base64url');
      const flipped = Array.from({ length: bytes.length }, (_, index) => {
        const changed = Buffer.from(bytes);
        changed[index]! ^= 1;
        return changed.toString('base64url');
      });
      const forged = [
        ...flipped,
        ofOther!.receipt,
        ofStranger!.receipt,
        ofDying!.receipt,
        page,
        receipt.slice(0, -1),
        `${receipt}A`,
        `${receipt}=`,
        `${receipt}\n`,
        ` ${receipt}`,
        receipt.toLowerCase(),
        bytes.toString('base64').replace(/[A-Za-z0-9]*$/, (end) => `+/${end}`),
        bytes.toString('hex'),
        Buffer.alloc(48).toString('base64url'),
        Buffer.alloc(48, 0xff).toString('base64url'),
        'A',
        fixture.queueId,
        '0',
      ];
      for (const each of forged) await expectDead(attack(), each);
      // The true one is good after all that.
      const good = await client.call({ method: 'DELETE', path: `/queues/${fixture.queueId}/messages/${receipt}` });
      expect(good.status).toBe(204);
      await attack().renewQueue();
    },
    LONG,
  );

  it('refuses page tokens that were changed, or are of another list', async () => {
    const { pods, client, fixture } = attack();
    const next = async (path: string): Promise<string> => {
      const token = (await client.call({ path })).headers['opc-next-page'];
      expect([path, typeof token]).toEqual([path, 'string']);
      return String(token);
    };
    const { queueId, workRequestId } = fixture;
    await client.createQueue({ compartmentId: pods.credentials.compartmentId });
    for (const channelId of ['a', 'b']) {
      const body = { messages: [{ content: 'x', metadata: { channelId } }] };
      await client.call({ method: 'POST', path: `/queues/${queueId}/messages`, body });
    }
    await attack().renewDigest();
    const lists = [
      '/queues?sortBy=timeCreated&sortOrder=ASC&',
      '/queues?sortBy=timeCreated&sortOrder=DESC&',
      '/queues?sortBy=displayName&sortOrder=ASC&',
      '/queues?sortBy=displayName&sortOrder=DESC&',
      '/workRequests?',
      `/queues/${queueId}/channels?`,
    ];
    const tokens = new Map<string, string>();
    for (const path of lists) tokens.set(path, await next(`${path}limit=1`));
    const others = [`/workRequests/${workRequestId}/logs?`, `/workRequests/${workRequestId}/errors?`];
    for (const path of [...lists, ...others]) {
      for (const [owner, token] of tokens) {
        const answer = await client.call({ path: `${path}limit=1&page=${token}` });
        const fault = answer.status === 400 ? faultOfError(answer) : null;
        expect([path, owner, answer.status, fault]).toEqual([path, owner, owner === path ? 200 : 400, null]);
      }
      for (const page of [fixture.receipt, `${tokens.get(lists[0]!)}A`, 'AAAA']) {
        expect((await client.call({ path: `${path}page=${page}` })).status).toBe(400);
      }
    }
    expect(await digestOf(pods)).toBe(attack().digest);
  });
});
