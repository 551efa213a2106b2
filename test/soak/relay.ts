import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';

/** One connection that goes through. */
interface Link {
  readonly near: Socket;
  readonly far: Socket;
  /** What the side that connects has said first. */
  greeting: string;
  /** late: what is said waits. lost: it is thrown away, and nobody is told. */
  state: 'open' | 'late' | 'lost';
}

/** What tells a PostgreSQL connection from others: its first words name the program. */
export type LinkFilter = (greeting: string) => boolean;
const ALL: LinkFilter = () => true;
const GREETING_BYTES = 1000;

/**
 * The network in front of a server (a pod for its clients, PostgreSQL for a pod): any number of connections, which can be cut,
 * held up, or go half-open: then both sides think that the other is there, and nothing comes through.
 */
export class Relay {
  private readonly links = new Set<Link>();
  private isLate = false;

  private constructor(
    private readonly server: Server,
    readonly port: number,
    private farPort: number | null,
  ) {
    server.on('connection', (near) => this.join(near));
  }

  static async start(farPort: number | null): Promise<Relay> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Relay(server, (server.address() as AddressInfo).port, farPort);
  }

  /** How many connections there are now. */
  count(filter = ALL): number {
    return this.some(filter).length;
  }

  /** From now on connections go to this port. */
  async leadTo(port: number): Promise<void> {
    this.farPort = port;
    if (this.server.listening) return;
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  /** There is nobody to lead to: connections are refused, so that who tries knows that nothing has happened. */
  refuse(): void {
    this.farPort = null;
    if (this.server.listening) this.server.close();
  }

  /** Resets all connections. */
  cut(filter = ALL): number {
    const cut = this.some(filter);
    for (const { near, far } of cut) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
    return cut.length;
  }

  /** Nothing comes through until `resume`; then all of it does. */
  stall(): void {
    this.isLate = true;
    for (const link of this.links) {
      if (link.state !== 'open') continue;
      link.state = 'late';
      link.near.pause();
      link.far.pause();
    }
  }

  resume(): void {
    this.isLate = false;
    for (const link of this.links) {
      if (link.state !== 'late') continue;
      link.state = 'open';
      link.near.resume();
      link.far.resume();
    }
  }

  /** The connections of now go half-open, until their ends give them up. Returns how many. */
  lose(filter = ALL): number {
    const lost = this.some(filter);
    for (const link of lost) link.state = 'lost';
    return lost.length;
  }

  close(): void {
    this.cut();
    if (this.server.listening) this.server.close();
  }

  private some(filter: LinkFilter): Link[] {
    return [...this.links].filter(({ greeting }) => filter(greeting));
  }

  private join(near: Socket): void {
    if (this.farPort === null) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port: this.farPort, host: '127.0.0.1' });
    const link: Link = { near, far, greeting: '', state: this.isLate ? 'late' : 'open' };
    this.links.add(link);
    this.carry(link, near, far);
    this.carry(link, far, near);
    near.on('data', (chunk: Buffer) => {
      if (link.greeting.length < GREETING_BYTES) link.greeting += chunk.toString('latin1');
    });
    if (this.isLate) {
      near.pause();
      far.pause();
    }
  }

  private carry(link: Link, from: Socket, to: Socket): void {
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => {
      if (link.state === 'lost' || !to.writable || to.write(chunk)) return;
      from.pause();
      to.once('drain', () => {
        if (link.state !== 'late') from.resume();
      });
    });
    // The end of one side of a lost connection is not told to the other either, but for when both would stay for ever.
    from.on('end', () => {
      if (link.state !== 'lost') to.end();
      else from.end();
    });
    from.on('error', () => to.resetAndDestroy());
    from.on('close', () => {
      this.links.delete(link);
      to.destroySoon();
    });
  }
}
