import { Injectable } from '@nestjs/common';
import { Database } from './database.js';
import type { Seal } from './put-functions.js';

/** What to do with a batch of a redrive. */
export interface RedrivePlan {
  /** The OCID. */
  readonly workRequestId: string;
  readonly queueId: number;
  readonly consumerGroupId: number;
  /** The queue's setting. */
  readonly acceptUnsealed: boolean;
  /** As people write it; null: everything. */
  readonly filter: string | null;
  /** Null: where the messages came from. */
  readonly target: { readonly queueId: number; readonly customEncryptionKeyId: string | null } | null;
  readonly isDryRun: boolean;
  /** How many may be moved at once. */
  readonly most: number;
  /** Where the batch begins, and ends. */
  readonly cursor: number;
  readonly nextCursor: number;
  readonly isEnd: boolean;
}

/** A dead letter of the batch, as it is stored. */
export interface RedriveCandidate {
  readonly id: number;
  readonly receiptNumber: number;
  readonly keyId: number | null;
  readonly properties: Readonly<Record<string, string>> | null;
  readonly content: Buffer;
  /** How many of the batch were looked at, up to this one. */
  readonly examined: number;
}

export interface RedriveBatch {
  readonly plan: RedrivePlan;
  readonly candidates: readonly RedriveCandidate[];
  readonly examined: number;
}

/** What a pod has chosen of a batch. */
export interface RedriveChoice {
  readonly chosen: readonly RedriveCandidate[];
  readonly nextCursor: number;
  readonly isEnd: boolean;
  readonly examined: number;
  /** How many could not be opened. */
  readonly unreadable: number;
  /** For another queue: the contents, and the properties in the clear, one per chosen one. */
  readonly sealed: (Seal & { readonly properties: readonly (string | null)[] }) | null;
}

const TAKE = {
  name: 'take_redrive_batch',
  text: `select plan, id, receipt_number as "receiptNumber", key_id as "keyId", properties, body as content, examined
    from towpath.take_redrive_batch($1, $2)`,
};
const MOVE = {
  name: 'move_redrive_batch',
  text: 'select towpath.move_redrive_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) as status',
};
const FAIL = { name: 'fail_redrive', text: 'select towpath.fail_redrive($1, $2, $3) as status' };

/** The SQL functions of redrives that pods carry out, each called from here only. */
@Injectable()
export class RedriveFunctions {
  constructor(private readonly database: Database) {}

  /** The next batch of this redrive (null: of the oldest one); null: there is none to be done now. */
  async take(workRequestId: string | null, batch: number): Promise<RedriveBatch | null> {
    type Row = RedriveCandidate & { readonly plan: RedrivePlan | null };
    const rows = await this.database.run<Row & Record<string, unknown>>(TAKE, [workRequestId, batch]);
    const last = rows.pop();
    if (last === undefined || last.plan === null) return null;
    return { plan: last.plan, candidates: rows, examined: last.examined };
  }

  /** Moves what is still as it was, and the cursor. Returns the status of the work request after that. */
  async move(plan: RedrivePlan, choice: RedriveChoice): Promise<string | null> {
    const { chosen, sealed } = choice;
    const [row] = await this.database.run<{ status: string | null }>(MOVE, [
      plan.workRequestId,
      plan.consumerGroupId,
      plan.cursor,
      choice.nextCursor,
      choice.isEnd,
      choice.examined,
      choice.unreadable,
      chosen.map(({ id }) => id),
      chosen.map(({ receiptNumber }) => receiptNumber),
      sealed === null ? null : Buffer.concat(sealed.contents),
      sealed === null ? null : sealed.contents.map(({ length }) => length),
      sealed === null ? null : sealed.properties,
      sealed?.keyId ?? null,
    ]);
    return row?.status ?? null;
  }

  /** Ends a redrive that cannot go on. */
  async fail(workRequestId: string, code: string, message: string): Promise<string | null> {
    const [row] = await this.database.run<{ status: string | null }>(FAIL, [workRequestId, code, message]);
    return row?.status ?? null;
  }
}
