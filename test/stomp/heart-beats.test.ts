import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { HeartBeats, negotiate } from '../../src/stomp/heart-beats.js';
import { until } from '../pods/support.js';

describe('heart-beats', () => {
  it('are agreed on as the larger of what both sides want, or none', () => {
    expect(negotiate('500,20000', 10_000)).toEqual({ receiveEveryMs: 10_000, sendEveryMs: 20_000 });
    expect(negotiate('0,0', 10_000)).toEqual({ receiveEveryMs: 0, sendEveryMs: 0 });
    expect(negotiate(undefined, 10_000)).toEqual({ receiveEveryMs: 0, sendEveryMs: 0 });
    expect(negotiate('a,b', 10_000)).toBeNull();
  });

  it('are missed after twice the interval, and not where they lie unread because the pod was busy', async () => {
    let lost = 0;
    const beats = new HeartBeats(
      { sendEveryMs: 0, receiveEveryMs: 50 },
      {
        send: () => undefined,
        lost: () => {
          lost += 1;
        },
      },
    );
    const server = createServer((socket) => socket.on('data', () => beats.received())).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect((server.address() as { port: number }).port, '127.0.0.1');
    await once(client, 'connect');
    beats.received();
    client.write('\n');
    // Nothing is read meanwhile, and the timer is over.
    for (const start = performance.now(); performance.now() - start < 300;);
    await sleep(1);
    expect(lost).toBe(0);
    await until(() => lost > 0, 'they are missed');
    beats.stop();
    client.destroy();
    server.close();
    await once(server, 'close');
    expect(lost).toBe(1);
  });
});
