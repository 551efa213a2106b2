import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { clock } from '../history.js';

export type Direction = 'to the pod' | 'to the client';

/** A cut that waits for so many more bytes in this direction. */
interface Plan {
  readonly direction: Direction;
  left: number;
}

/**
 * The network between one client and a pod: one connection at a time, which can be cut after any byte, or be frozen: then
 * both sides think that it is there, and nothing comes through any more.
 */
export class CuttingProxy {
  /** When it began to end the connection; infinite: it did not. */
  cutAt = Infinity;
  private plan: Plan | null = null;
  private isFrozen = false;
  private sides: readonly Socket[] = [];

  private constructor(
    private readonly server: Server,
    podPort: () => number,
  ) {
    server.on('connection', (client) => this.join(client, connect({ port: podPort(), host: '127.0.0.1' })));
  }

  static async start(podPort: () => number): Promise<CuttingProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new CuttingProxy(server, podPort);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Lets so many more bytes through, and then cuts. */
  cutAfter(direction: Direction, bytes: number): void {
    this.plan = { direction, left: bytes };
    if (bytes === 0) this.cut();
  }

  cut(): void {
    this.plan = null;
    this.cutAt = Math.min(this.cutAt, clock());
    for (const side of this.sides) side.destroy();
  }

  /** From now on nothing comes through, and neither side is told. Only `cut` ends it. */
  freeze(): void {
    this.isFrozen = true;
    for (const side of this.sides) side.pause();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private join(client: Socket, pod: Socket): void {
    this.cutAt = Infinity;
    this.plan = null;
    this.isFrozen = false;
    this.sides = [client, pod];
    this.carry(client, pod, 'to the pod');
    this.carry(pod, client, 'to the client');
  }

  private carry(from: Socket, to: Socket, direction: Direction): void {
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => {
      // A frozen one may be told of what was read before.
      if (this.isFrozen) return;
      if (this.plan?.direction === direction && this.plan.left <= chunk.length) {
        this.cutWithin(to, chunk.subarray(0, this.plan.left));
        return;
      }
      if (this.plan?.direction === direction) this.plan.left -= chunk.length;
      if (to.writable && !to.write(chunk)) {
        from.pause();
        to.once('drain', () => {
          if (!this.isFrozen) from.resume();
        });
      }
    });
    from.on('end', () => {
      if (!this.isFrozen) to.end();
    });
    from.on('error', () => undefined);
    from.on('close', () => {
      if (!this.isFrozen) to.destroySoon();
    });
  }

  /** What is left of the chunk still arrives. */
  private cutWithin(to: Socket, rest: Buffer): void {
    this.plan = null;
    this.isFrozen = true;
    this.cutAt = Math.min(this.cutAt, clock());
    if (to.writable) to.write(rest, () => this.cut());
    else this.cut();
  }
}
