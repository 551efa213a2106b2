import { Injectable } from '@nestjs/common';
import {
  AuditFunctions,
  type AuditConditions,
  type AuditCursor,
  type AuditEvent,
} from '../database/audit-functions.js';
import type { Caller } from '../identity/caller.js';
import { itemsOf, type Part } from '../rest/json-lines.js';
import { PageTokens } from '../rest/page-token.js';
import type {
  AuditConditionsQuery,
  AuditEventBody,
  AuditEventCollection,
  ExportAuditEventsQuery,
  ListAuditEventsQuery,
} from './audit.schemas.js';

const LIST = 'audit events';
const DEFAULT_LIMIT = 100;
/** How many events are read at a time: one has the tags of a queue twice, which may be 160 KiB. */
const PART = 50;
/** A page ends with the part that goes beyond this. */
const PAGE_BYTES = 2 * 1024 * 1024;

/** Reads the audit log of the caller's tenancy, newest first. */
@Injectable()
export class AuditService {
  constructor(
    private readonly functions: AuditFunctions,
    private readonly pages: PageTokens,
  ) {}

  /** Throws InvalidParameter (a page of another list). */
  async list(
    caller: Caller,
    query: ListAuditEventsQuery,
  ): Promise<{ body: AuditEventCollection; nextPage: string | null }> {
    const position = this.pages.decode(LIST, query.page);
    const before = position === null ? null : { time: String(position[0]), id: Number(position[1]) };
    const conditions = inUtc(query);
    const limit = query.limit ?? DEFAULT_LIMIT;
    const items: AuditEventBody[] = [];
    let nextCursor: AuditCursor | null = before;
    let bytes = 0;
    do {
      const part: Part<AuditEventBody, AuditCursor> = await this.read(
        caller,
        conditions,
        nextCursor,
        Math.min(PART, limit - items.length),
      );
      items.push(...part.items);
      ({ nextCursor } = part);
      bytes += JSON.stringify(part.items).length;
    } while (nextCursor !== null && items.length < limit && bytes < PAGE_BYTES);
    return {
      body: { items },
      nextPage: nextCursor === null ? null : this.pages.encode(LIST, [nextCursor.time, nextCursor.id]),
    };
  }

  /** All events that there are, or `limit`. What happens meanwhile is not among them. */
  async export(caller: Caller, query: ExportAuditEventsQuery): Promise<AsyncIterable<AuditEventBody>> {
    const conditions = inUtc(query);
    const atMost = query.limit ?? Infinity;
    const read = (cursor: AuditCursor | null, left: number): Promise<Part<AuditEventBody, AuditCursor>> =>
      this.read(caller, conditions, cursor, Math.min(PART, left));
    return itemsOf(await read(null, atMost), read, atMost);
  }

  private async read(
    caller: Caller,
    conditions: AuditConditions,
    before: AuditCursor | null,
    limit: number,
  ): Promise<Part<AuditEventBody, AuditCursor>> {
    const found = await this.functions.list(caller.tenancyId, conditions, before, limit + 1);
    const items = found.slice(0, limit);
    return {
      items: items.map(toBody),
      nextCursor: found.length > limit ? (items.at(-1)?.cursor ?? null) : null,
    };
  }
}

const utc = (time: string | undefined): string | undefined =>
  time === undefined ? undefined : new Date(time).toISOString();

/** PostgreSQL takes fewer time zones than RFC 3339 has. */
function inUtc({ timeAfter, timeBefore, operation, userId, targetId, outcome }: AuditConditionsQuery): AuditConditions {
  return { timeAfter: utc(timeAfter), timeBefore: utc(timeBefore), operation, userId, targetId, outcome };
}

function toBody(event: AuditEvent): AuditEventBody {
  const { code, compartmentId, userId, credential, credentialId, address, requestId, before, after, parameters } =
    event;
  const optional = {
    code,
    compartmentId,
    userId,
    credential,
    credentialId,
    address,
    requestId,
    before,
    after,
    parameters,
  };
  return {
    id: event.id,
    timeCreated: event.timeCreated.toISOString(),
    operation: event.operation,
    outcome: event.outcome as AuditEventBody['outcome'],
    targetIds: [...event.targetIds],
    databaseRole: event.databaseRole,
    // What is not known is absent.
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== null)),
  };
}
