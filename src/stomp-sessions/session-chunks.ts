import type { ReportedChunk } from '../database/stomp-functions.js';
import type { Session } from '../stomp/session.js';
import { reportOf, stampOf } from './session-report.js';

/** Sessions of one row. */
const CHUNK_SESSIONS = 100;
/** Rows of one report, which bounds how long it keeps the event loop: some milliseconds. */
const MAX_CHUNKS = 20;
/** After that a row is written again in any case: what it tells of is that old at most while a pod has 10,000 sessions. */
const OLD_AFTER_MS = 10_000;
/** Of the rows in which only figures have changed, so many are written before they are old: where there are few, all. */
const EARLY_CHUNKS = 2;

interface Chunk {
  readonly no: number;
  readonly tenancyId: string;
  readonly sessions: Set<Session>;
  /** Somebody has come or gone, or the database does not have it. */
  isDirty: boolean;
  stamp: number;
  reportedAt: number;
}

/** The rows in which a pod reports its sessions, and which of them are due. */
export class SessionChunks {
  private readonly chunks = new Map<number, Chunk>();
  private readonly chunkOf = new Map<Session, Chunk>();
  private lastNo = 0;

  /** Whether there is anything to report, or was. */
  get size(): number {
    return this.chunks.size;
  }

  /** Takes notice of who has come and gone. */
  update(open: ReadonlySet<Session>): void {
    for (const [session, chunk] of this.chunkOf) {
      if (open.has(session)) continue;
      this.chunkOf.delete(session);
      chunk.sessions.delete(session);
      chunk.isDirty = true;
    }
    for (const session of open) {
      if (session.connectedAt !== null && session.user !== null && !this.chunkOf.has(session)) {
        this.add(session, session.user.tenancyId);
      }
    }
  }

  /** What to write now: whoever has come or gone first, then what is oldest. */
  due(now: number): ReportedChunk[] {
    const due: Chunk[] = [];
    const changed: Chunk[] = [];
    for (const chunk of this.chunks.values()) {
      if (chunk.isDirty || now - chunk.reportedAt >= OLD_AFTER_MS) due.push(chunk);
      else if (stampOfAll(chunk) !== chunk.stamp) changed.push(chunk);
    }
    const byAge = (a: Chunk, b: Chunk): number => a.reportedAt - b.reportedAt;
    due.sort((a, b) => Number(b.isDirty) - Number(a.isDirty) || byAge(a, b));
    due.push(...changed.toSorted(byAge).slice(0, EARLY_CHUNKS));
    return due.slice(0, MAX_CHUNKS).map((chunk) => {
      chunk.isDirty = false;
      chunk.stamp = stampOfAll(chunk);
      chunk.reportedAt = now;
      const { no, tenancyId } = chunk;
      return { no, tenancyId, sessions: [...chunk.sessions].map((session) => reportOf(session, now)) };
    });
  }

  /** They were written, and the database has these rows now. What it lacks is written again. */
  written(chunks: readonly ReportedChunk[], nos: readonly number[]): void {
    for (const { no, sessions } of chunks) {
      if (sessions.length === 0 && this.chunks.get(no)?.sessions.size === 0) this.chunks.delete(no);
    }
    const there = new Set(nos);
    for (const chunk of this.chunks.values()) if (!there.has(chunk.no)) chunk.isDirty = true;
  }

  /** They may not have been written. */
  failed(chunks: readonly ReportedChunk[]): void {
    for (const { no } of chunks) {
      const chunk = this.chunks.get(no);
      if (chunk !== undefined) chunk.isDirty = true;
    }
  }

  /** All rows, as they are written when the pod has no sessions any more. */
  emptied(): ReportedChunk[] {
    return [...this.chunks.values()].map(({ no, tenancyId }) => ({ no, tenancyId, sessions: [] }));
  }

  private add(session: Session, tenancyId: string): void {
    let found: Chunk | undefined;
    for (const chunk of this.chunks.values()) {
      if (chunk.tenancyId !== tenancyId || chunk.sessions.size >= CHUNK_SESSIONS) continue;
      found = chunk;
      break;
    }
    if (found === undefined) {
      this.lastNo += 1;
      found = { no: this.lastNo, tenancyId, sessions: new Set(), isDirty: true, stamp: 0, reportedAt: -Infinity };
      this.chunks.set(found.no, found);
    }
    found.sessions.add(session);
    found.isDirty = true;
    this.chunkOf.set(session, found);
  }
}

function stampOfAll({ sessions }: Chunk): number {
  let sum = 0;
  for (const session of sessions) sum += stampOf(session);
  return sum;
}
