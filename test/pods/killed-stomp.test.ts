import { WebSocket } from 'ws';
import { startPodProcesses, type PodProcess, type PodProcesses } from './pod-process.js';
import { until } from './support.js';

describe('STOMP sessions of a pod that is killed', () => {
  let processes: PodProcesses;
  const sockets: WebSocket[] = [];
  beforeAll(async () => {
    processes = await startPodProcesses(2);
  }, 180_000);
  afterAll(async () => {
    for (const socket of sockets) socket.terminate();
    await processes.stop();
  });

  /** The id of a session over WebSocket, whose port is known. */
  const connected = (pod: PodProcess): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${pod.url.replace(/^http/, 'ws')}/stomp`, 'v12.stomp');
      sockets.push(socket);
      const { stompLogin, stompPasscode } = processes.credentials;
      socket.on('error', reject);
      socket.on('open', () =>
        socket.send(`CONNECT\naccept-version:1.2\nhost:/\nlogin:${stompLogin}\npasscode:${stompPasscode}\n\n\0`),
      );
      socket.on('message', (data: Buffer) => resolve(/session:(\S+)/.exec(data.toString())?.[1] ?? data.toString()));
    });

  it('are gone from the view when its heartbeats have been missed, and then from the database', async () => {
    const { test, pods } = processes;
    const [first, second] = pods as [PodProcess, PodProcess];
    const shown = async (): Promise<string[]> =>
      (await test.sql<{ session_id: string }>('select session_id from towpath.stomp_sessions')).map(
        ({ session_id }) => session_id,
      );
    const [lost, kept] = [await connected(first), await connected(second)];
    await until(async () => (await shown()).length === 2, 'both are shown');
    await first.killed();
    expect(await shown()).toContain(lost);
    const killedAt = performance.now();
    await until(async () => !(await shown()).includes(lost), 'the killed pod’s is not shown');
    const seconds = (performance.now() - killedAt) / 1000;
    process.stdout.write(`gone from the view after ${seconds.toFixed(1)} s\n`);
    // Three heartbeats; what is beyond is the machine’s.
    expect(seconds).toBeLessThan(150);
    expect(await shown()).toEqual([kept]);
    const rows = async (): Promise<number> => (await test.sql('select from towpath.stomp_session_chunk')).length;
    await until(async () => (await rows()) === 1, 'its row is swept');
  }, 300_000);
});
