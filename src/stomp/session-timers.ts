import { ServiceError } from '../errors/service-error.js';
import { HeartBeats, type HeartBeatTerms } from './heart-beats.js';

export interface TimerTasks {
  /** The client has kept silent for too long. */
  readonly end: (error: ServiceError) => void;
  readonly sendHeartBeat: () => void;
  /** No heart-beat came, which ends the connection. */
  readonly lost: () => void;
  /** Whether silence means something: not while the connection is not read. */
  readonly isListening: () => boolean;
  /** Whether a client without heart-beats may keep silent: one that waits for messages has nothing to say. */
  readonly mayBeSilent: () => boolean;
}

/**
 * How long a client may say nothing: until its CONNECT frame has come, and from then on by the heart-beats that were agreed on,
 * or where there are none by idleness.
 */
export class SessionTimers {
  /** For CONNECT, then for idleness; null where heart-beats do that. */
  private timer: NodeJS.Timeout | null;
  private beats: HeartBeats | null = null;
  private isConnected = false;

  constructor(
    loginMs: number,
    private readonly idleMs: number,
    private readonly tasks: TimerTasks,
  ) {
    this.timer = setTimeout(() => {
      const message = `no CONNECT frame came within ${loginMs / 1000} seconds: send it first`;
      tasks.end(new ServiceError('RequestTimeout', message));
    }, loginMs).unref();
  }

  connected(terms: HeartBeatTerms): void {
    clearTimeout(this.timer ?? undefined);
    this.isConnected = true;
    this.timer = terms.receiveEveryMs === 0 ? setTimeout(() => this.becameIdle(), this.idleMs).unref() : null;
    this.beats = new HeartBeats(terms, { send: this.tasks.sendHeartBeat, lost: () => this.missedHeartBeats() });
  }

  /** Something came, whatever it was; or nothing could. */
  heard(): void {
    this.beats?.received();
    // That of CONNECT runs whatever comes.
    if (this.isConnected) this.timer?.refresh();
  }

  /** Something was sent. */
  sent(): void {
    this.beats?.sent();
  }

  stop(): void {
    clearTimeout(this.timer ?? undefined);
    this.beats?.stop();
  }

  private missedHeartBeats(): void {
    // What is not read cannot be missed.
    if (!this.tasks.isListening()) {
      this.heard();
      return;
    }
    this.tasks.lost();
    this.tasks.end(new ServiceError('RequestTimeout', 'no heart-beat came for twice the time that was agreed on'));
  }

  private becameIdle(): void {
    if (this.tasks.mayBeSilent() || !this.tasks.isListening()) {
      this.timer?.refresh();
      return;
    }
    const seconds = this.idleMs / 1000;
    const message = `nothing came for ${seconds} seconds: ask for heart-beats to keep a connection that is not used`;
    this.tasks.end(new ServiceError('RequestTimeout', message));
  }
}
