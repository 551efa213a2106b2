/** What both sides have agreed on; 0: none in this direction. */
export interface HeartBeatTerms {
  readonly sendEveryMs: number;
  readonly receiveEveryMs: number;
}

/** A timer cannot wait longer; who wants that rarely a heart-beat wants none. */
const LONGEST_MS = 2 ** 31 - 1;
/**
 * We promise one per interval and send it after three quarters: what the network and a busy pod add is ours to allow for. Of
 * clients a heart-beat may be late by a whole interval.
 */
const SEND_AFTER = 3 / 4;
const LOST_AFTER = 2;

/**
 * The terms that follow from the header `heart-beat` of CONNECT, `cx,cy`: the client can send every cx and wants some every
 * cy milliseconds. Null: the header is not of that form. Absent: no heart-beats.
 */
export function negotiate(header: string | undefined, oursMs: number): HeartBeatTerms | null {
  const [, cx, cy] = /^\s*(\d{1,15})\s*,\s*(\d{1,15})\s*$/.exec(header ?? '0,0') ?? [];
  if (cx === undefined || cy === undefined) return null;
  const agreed = (theirsMs: number): number => (theirsMs === 0 ? 0 : Math.max(theirsMs, oursMs));
  return { sendEveryMs: agreed(Number(cy)), receiveEveryMs: agreed(Number(cx)) };
}

/**
 * Heart-beats of one connection. They depend on timers and the socket alone, so they go on while the database is slow or away.
 */
export class HeartBeats {
  private readonly sending: NodeJS.Timeout | null;
  private readonly receiving: NodeJS.Timeout | null;
  /** The time is over, and what has come by now may not have been read yet. */
  private isSuspected = false;

  constructor(
    terms: HeartBeatTerms,
    private readonly tasks: { readonly send: () => void; readonly lost: () => void },
  ) {
    const { sendEveryMs, receiveEveryMs } = terms;
    this.sending = sendEveryMs === 0 ? null : timer(tasks.send, sendEveryMs * SEND_AFTER);
    this.receiving = receiveEveryMs === 0 ? null : timer(() => this.suspect(), receiveEveryMs * LOST_AFTER);
  }

  /** Something came, whatever it was; or nothing could, because the connection is not read. */
  received(): void {
    this.isSuspected = false;
    this.receiving?.refresh();
  }

  /** Something was sent, so no heart-beat is needed for a while. */
  sent(): void {
    this.sending?.refresh();
  }

  /** A pod that was busy for long finds its timers over before it reads its sockets: it reads them first. */
  private suspect(): void {
    this.isSuspected = true;
    setImmediate(() => {
      if (this.isSuspected) this.tasks.lost();
    });
  }

  stop(): void {
    this.isSuspected = false;
    clearTimeout(this.sending ?? undefined);
    clearTimeout(this.receiving ?? undefined);
  }
}

function timer(task: () => void, ms: number): NodeJS.Timeout {
  return setTimeout(task, Math.min(ms, LONGEST_MS)).unref();
}
