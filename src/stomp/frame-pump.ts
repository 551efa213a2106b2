import type { Frame } from './codec/frame.js';
import type { Connection } from './connections/connection.js';
import type { Intake } from './intake.js';

export interface PumpTasks {
  readonly mayGoOn: () => boolean;
  /** Carries a frame out, or starts to. A promise: the next frame is not read before it is fulfilled. */
  readonly handle: (frame: Frame) => Promise<void> | undefined;
  /** What frames hold that were read and are not carried out. */
  readonly waitingBytes: () => number;
  /** Nothing more is read for now: what was gathered may begin. */
  readonly rested: () => void;
  /** The connection is read again: until now the client could not be heard. */
  readonly resumed: () => void;
  readonly failed: (error: unknown, frame: Frame | null) => void;
}

/** Takes the frames of one connection out of its intake, in their order, one after the other. */
export class FramePump {
  /** Whether the connection is not read, because a frame is not done or there is no room. */
  isPaused = false;
  private isRunning = false;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly connection: Connection,
    private readonly intake: Intake,
    private readonly tasks: PumpTasks,
  ) {}

  /** Something came. */
  start(): void {
    if (!this.isRunning) this.running = this.run();
  }

  /** Resolves once it rests, or has ended. */
  idle(): Promise<void> {
    return this.running;
  }

  private async run(): Promise<void> {
    const { reader } = this.intake;
    let frame: Frame | null = null;
    this.isRunning = true;
    try {
      while (this.tasks.mayGoOn()) {
        const read = reader.read();
        frame = typeof read === 'object' ? read : null;
        const waits =
          frame !== null
            ? this.tasks.handle(frame)
            : read === undefined
              ? this.intake.account(this.tasks.waitingBytes())
              : undefined;
        if (waits !== undefined) await this.whilePaused(waits);
        else if (read === undefined) break;
      }
    } catch (error) {
      this.tasks.failed(error, frame);
    }
    this.isRunning = false;
    this.tasks.rested();
  }

  /** Reads nothing of the connection until `what` has happened, so that nothing piles up. */
  private async whilePaused(what: Promise<void>): Promise<void> {
    this.tasks.rested();
    this.isPaused = true;
    this.connection.pause();
    try {
      await what;
    } finally {
      this.isPaused = false;
      this.tasks.resumed();
    }
  }
}
