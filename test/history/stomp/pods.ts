import { createServer } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { startPodProcesses, type PodProcess, type PodProcesses } from '../../pods/pod-process.js';
import { clock } from '../history.js';
import { between } from '../random.js';
import { RecordedQueue } from '../recorded-queue.js';
import { newCounts, type StompPod, type StompTarget } from './target.js';

const HEART_BEAT_SECONDS = 1;
/** Nothing is away here but pods. A machine that is busy for seconds must not look like it. */
const PATIENT = { TOWPATH_DATABASE_WAIT_SECONDS: '30', TOWPATH_STOMP_HEART_BEAT_SECONDS: String(HEART_BEAT_SECONDS) };
export const DELIVERY_LIMIT = 4;
/** What is unknown to a client may take so long on a loaded machine. */
const LINGER_MS = 10_000;

/** Two pods with two queues, `in` and `out`, and those who end pods. */
export class StompStage {
  private readonly processes: PodProcess[];

  private constructor(
    readonly all: PodProcesses,
    readonly target: StompTarget,
  ) {
    this.processes = [...all.pods];
  }

  /** `environment` is for the pods. */
  static async start(environment: Readonly<Record<string, string>> = {}): Promise<StompStage> {
    const common = { ...PATIENT, ...environment };
    const ports = [await freePort(), await freePort()];
    const all = await startPodProcesses(ports.length, common, ports.map(environmentOf));
    try {
      const urls = all.pods.map(({ url }) => url);
      const settings = { visibilityInSeconds: 2, deadLetterQueueDeliveryCount: DELIVERY_LIMIT, lingerMs: LINGER_MS };
      const queues = new Map<string, RecordedQueue>();
      for (const name of ['in', 'out']) {
        queues.set(name, await RecordedQueue.create({ urls, ...all.credentials }, settings));
      }
      const target: StompTarget = {
        login: all.credentials.stompLogin,
        passcode: all.credentials.stompPasscode,
        pods: ports.map(podAt),
        heartBeatMs: HEART_BEAT_SECONDS * 1000,
        queues,
        commits: [],
        proxies: new Set(),
        outages: [],
        surprises: [],
        counts: newCounts(),
      };
      return new StompStage(all, target);
    } catch (error) {
      await all.stop();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.all.stop();
  }

  /** SIGKILL: nothing in the pod gets to know. Another one follows it. */
  async kill(slot: number): Promise<void> {
    this.target.pods[slot]!.killedAt = clock();
    await this.processes[slot]!.killed();
    await this.follow(slot);
  }

  /** SIGTERM: it carries out what it has read, and ends. Another one follows it. */
  async terminate(slot: number): Promise<void> {
    this.target.pods[slot]!.stoppedAt = clock();
    this.processes[slot]!.signal('SIGTERM');
    await this.processes[slot]!.ended();
    await this.follow(slot);
  }

  private async follow(slot: number): Promise<void> {
    // For a moment there is only the other one.
    await sleep(500);
    const port = await freePort();
    const again = await this.all.add(environmentOf(port));
    this.processes[slot] = again;
    this.target.pods[slot] = podAt(port);
    for (const queue of this.target.queues.values()) queue.moveTo(slot, again.url);
  }
}

export function podAt(port: number): StompPod {
  return { port, killedAt: Infinity, stoppedAt: Infinity };
}

export function environmentOf(port: number): Record<string, string> {
  return { TOWPATH_STOMP_PORT: String(port) };
}

/**
 * For the STOMP port of a pod: it does not tell it, so it is chosen for it. Not one that the system would give away: until the pod listens it
 * would be any client's on the machine.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = between(10_000, 32_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
