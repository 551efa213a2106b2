import { Injectable } from '@nestjs/common';

/** What the sessions of this pod have done, for the metrics. */
@Injectable()
export class StompFigures {
  /** Frames that were read, by command; those of no known command as `unknown`. */
  readonly received = new Map<string, number>();
  /** Frames that were written, by command. */
  readonly sent = new Map<string, number>();
  /** ERROR frames, by their code. */
  readonly errors = new Map<string, number>();
  /** Of frames and heart-beats, without what TLS and WebSocket add. */
  receivedBytes = 0;
  sentBytes = 0;
  connections = 0;
  subscriptions = 0;
  /** What all subscriptions hold. */
  unacknowledged = 0;
  /** Connections that were refused because there were too many. */
  refused = 0;
  /** Statements that stored SENDs; with `received` it tells how well they are merged. */
  puts = 0;
  /** Connections that were cut because no heart-beat came. */
  lost = 0;
  /** Connections that did not begin with the PROXY header that is demanded. */
  unproxied = 0;
  /** Gets of subscriptions that failed because of the state of their queue and are tried again. */
  waits = 0;

  count(counts: Map<string, number>, name: string): void {
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
}
