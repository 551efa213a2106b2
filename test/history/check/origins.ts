import type { GetCall } from '../history.js';
import { interval, type Delivery, type Evidence, type Fate } from './evidence.js';

/** Reads the deliveries into the evidence, and checks where each message came from and that it is what was put. */
export function readDeliveries(evidence: Evidence): void {
  for (const get of evidence.all('get')) readGet(evidence, get);
  for (const fate of evidence.fates) checkOnce(evidence, fate);
}

function readGet(evidence: Evidence, get: GetCall): void {
  const seconds = get.visibilityInSeconds ?? evidence.rules.visibilityInSeconds;
  if (seconds === 0) throw new Error('the checker does not take gets with a visibility of 0');
  for (const message of get.messages) {
    const claimedAt = message.visibleAfter - seconds * 1000;
    if (!evidence.isWithin(claimedAt, get)) {
      evidence.report('times', get.group, message.key, `claimed at ${claimedAt}, outside its get ${interval(get)}`);
    }
    const fate = evidence.fateOf(get.group, message.key);
    if (fate === undefined) {
      evidence.report('nowhere', get.group, message.key, 'was delivered and never put');
    } else if (!fate.isTaken) {
      const properties = JSON.stringify(fate.sent.properties);
      evidence.report('filter', get.group, message.key, `was delivered, and the filter does not take ${properties}`);
    } else {
      const delivery: Delivery = { ...message, fate, get, deadLetter: get.deadLetter, claimedAt };
      evidence.addDelivery(delivery);
      checkOrigin(evidence, fate, delivery);
    }
  }
}

function checkOrigin(evidence: Evidence, { key, group, put, sent, deliveries }: Fate, delivery: Delivery): void {
  const { clockToleranceMs } = evidence.rules;
  const { claimedAt, get } = delivery;
  const first = deliveries[0] ?? delivery;
  const id = sent.id ?? first.id;
  const report = (property: 'nowhere' | 'kept' | 'early', what: string): void =>
    evidence.report(property, group.name, key, what);
  if (put.outcome === 'refused') report('nowhere', 'was delivered though its put was refused');
  if (claimedAt < put.calledAt - clockToleranceMs) {
    report('nowhere', `was delivered at ${claimedAt}, before its put ${interval(put)}`);
  }
  if (delivery.id !== id) report('nowhere', `was delivered under the id ${delivery.id} and has ${id}`);
  if (delivery.channelId !== sent.channelId || (get.channelId !== null && get.channelId !== sent.channelId)) {
    report('nowhere', `was put into channel '${sent.channelId}' and came from '${delivery.channelId}'`);
  }
  if (delivery.createdAt !== first.createdAt || delivery.expireAfter !== first.expireAfter) {
    report('kept', `was created at ${first.createdAt} until ${first.expireAfter}, and now at ${delivery.createdAt}`);
  }
  const visibleAt = put.calledAt + sent.delayInSeconds * 1000 - clockToleranceMs;
  if (sent.delayInSeconds > 0 && claimedAt < visibleAt) {
    report('early', `was delivered ${Math.round(visibleAt - claimedAt)} ms before its delay was over`);
  }
}

function checkOnce(evidence: Evidence, { key, group, deliveries }: Fate): void {
  const ids = new Set(deliveries.map(({ id }) => id));
  if (ids.size > 1) evidence.report('once', group.name, key, `is there under the ids ${[...ids].join(' and ')}`);
}
