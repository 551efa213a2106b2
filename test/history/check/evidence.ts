import type {
  DeleteCall,
  GetCall,
  GroupRules,
  History,
  Operation,
  PutCall,
  ReceivedMessage,
  RedriveCall,
  ReleaseCall,
  Rules,
  SentMessage,
  Side,
  UpdateCall,
} from '../history.js';
import { BlindGets } from './blind-gets.js';
import { PROPERTIES, type Violation } from './properties.js';

/** Times come in whole milliseconds, each rounded by itself. */
export const ROUNDING_MS = 2;

export interface Delivery extends ReceivedMessage {
  readonly fate: Fate;
  readonly get: GetCall;
  readonly deadLetter: boolean;
  /** The moment of the claim, by the database's clock. */
  readonly claimedAt: number;
}

/** What became of one message in one group. */
export interface Fate {
  readonly key: string;
  readonly group: GroupRules;
  readonly put: PutCall;
  readonly sent: SentMessage;
  /** The filter of the group takes it. */
  readonly isTaken: boolean;
  /** In the order of their claims. */
  readonly deliveries: Delivery[];
  readonly deletes: DeleteCall[];
}

/** A history, sorted by what happened to whom; and what is found against it. */
export class Evidence {
  readonly rules: Rules;
  readonly operations: readonly Operation[];
  readonly violations: Violation[] = [];
  readonly redrives: readonly RedriveCall[];
  private readonly fatesByGroup = new Map<string, Map<string, Fate>>();
  private readonly deliveriesByReceipt = new Map<string, Delivery>();
  private readonly updatesByReceipt = new Map<string, UpdateCall[]>();
  private readonly releasesByReceipt = new Map<string, ReleaseCall[]>();
  /** By the names of their sides. */
  private readonly blindGets = new Map<string, BlindGets>();

  constructor({ rules, operations }: History) {
    this.rules = rules;
    this.operations = operations;
    this.redrives = this.all('redrive').filter(({ outcome }) => outcome !== 'refused');
    const blind = Map.groupBy(
      this.all('get').filter(({ outcome }) => outcome === 'unknown'),
      nameOfSide,
    );
    for (const [side, gets] of blind) this.blindGets.set(side, new BlindGets(gets, rules));
    for (const group of rules.groups) this.fatesByGroup.set(group.name, new Map());
    for (const put of this.all('put')) {
      for (const sent of put.messages) this.addFates(put, sent);
    }
  }

  all<Kind extends Operation['kind']>(kind: Kind): Extract<Operation, { kind: Kind }>[] {
    return this.operations.filter((each): each is Extract<Operation, { kind: Kind }> => each.kind === kind);
  }

  report(property: keyof typeof PROPERTIES, group: string, key: string, what: string): void {
    this.violations.push({ property: PROPERTIES[property], group, key, what });
  }

  get fates(): Fate[] {
    return [...this.fatesByGroup.values()].flatMap((fates) => [...fates.values()]);
  }

  fateOf(group: string, key: string): Fate | undefined {
    return this.fatesByGroup.get(group)?.get(key);
  }

  addDelivery(delivery: Delivery): void {
    delivery.fate.deliveries.push(delivery);
    if (!this.deliveriesByReceipt.has(delivery.receipt)) this.deliveriesByReceipt.set(delivery.receipt, delivery);
  }

  /** To be called when all deliveries are in. Calls at the wrong side belong to no fate: they must have no effect. */
  addCalls(): void {
    for (const { deliveries } of this.fates) {
      deliveries.sort((a, b) => a.claimedAt - b.claimedAt || a.deliveryCount - b.deliveryCount);
    }
    for (const update of this.all('update')) {
      if (!this.isRightSide(update)) continue;
      const known = this.updatesByReceipt.get(update.receipt);
      if (known === undefined) this.updatesByReceipt.set(update.receipt, [update]);
      else known.push(update);
    }
    for (const release of this.all('release')) {
      for (const receipt of release.receipts) {
        const known = this.releasesByReceipt.get(receipt);
        if (known === undefined) this.releasesByReceipt.set(receipt, [release]);
        else known.push(release);
      }
    }
    for (const call of this.all('delete')) {
      if (this.isRightSide(call)) this.deliveryOf(call.receipt)?.fate.deletes.push(call);
    }
  }

  deliveryOf(receipt: string): Delivery | undefined {
    return this.deliveriesByReceipt.get(receipt);
  }

  /** A receipt is good where it was given out: in its group, and among the dead letters or not. */
  isRightSide(call: UpdateCall | DeleteCall): boolean {
    const delivery = this.deliveryOf(call.receipt);
    return delivery === undefined || (isOn(delivery.get, call) && delivery.deadLetter === call.deadLetter);
  }

  updatesWith(receipt: string): readonly UpdateCall[] {
    return this.updatesByReceipt.get(receipt) ?? [];
  }

  releasesOf(receipt: string): readonly ReleaseCall[] {
    return this.releasesByReceipt.get(receipt) ?? [];
  }

  blindGetsOn(side: Side): readonly GetCall[] {
    return this.blindGets.get(nameOfSide(side))?.all ?? [];
  }

  blindGetsFor({ group, sent }: Fate, deadLetter: boolean, since: number, until: number): readonly GetCall[] {
    const blind = this.blindGets.get(nameOfSide({ group: group.name, deadLetter }));
    return blind?.between(since, until, sent.channelId) ?? [];
  }

  /** Redrives whose range has the message. */
  redrivesOf({ group, sent }: Fate): RedriveCall[] {
    return this.redrives.filter(
      (redrive) =>
        (redrive.group === null || redrive.group === group.name) &&
        (redrive.channelIds === null || redrive.channelIds.includes(sent.channelId)),
    );
  }

  isWithin(at: number, { calledAt, answeredAt }: Operation): boolean {
    const { clockToleranceMs } = this.rules;
    return at >= calledAt - clockToleranceMs && at <= answeredAt + clockToleranceMs;
  }

  private addFates(put: PutCall, sent: SentMessage): void {
    for (const group of this.rules.groups) {
      const fates = this.fatesByGroup.get(group.name);
      if (fates?.has(sent.key)) throw new Error(`the test put ${sent.key} twice`);
      const isTaken = group.takes(sent.properties);
      fates?.set(sent.key, { key: sent.key, group, put, sent, isTaken, deliveries: [], deletes: [] });
    }
  }
}

export function isOn(one: Side, other: Side): boolean {
  return one.group === other.group && one.deadLetter === other.deadLetter;
}

export function nameOf({ deliveryCount, deadLetter, claimedAt }: Delivery): string {
  return `delivery ${deliveryCount}${deadLetter ? ' (dead letter)' : ''} at ${claimedAt}`;
}

export function nameOfSide({ group, deadLetter }: Side): string {
  return `${group === '' ? 'the primary group' : group}${deadLetter ? ' (dead letters)' : ''}`;
}

export function interval({ calledAt, answeredAt, outcome }: Omit<PutCall, 'kind' | 'messages'>): string {
  return `[${Math.round(calledAt)}, ${Math.round(answeredAt)}] (${outcome})`;
}
