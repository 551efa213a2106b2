// What parts of a request cost as the pod does them, beside the ways that come to mind first: nanoseconds per call, the best of ten rounds in
// turn, so that other work on the machine counts for little. Ten seconds, no server.
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHmac, createSecretKey, hash, randomBytes, randomUUID } from 'node:crypto';
import pg from 'pg';
import { parseTimestamp } from '../dist/database/timestamps.js';
import { TokenKind, TokenSeal } from '../dist/encryption/token-seal.js';
import { inLane, thisLane, within } from '../dist/fairness/lane.js';
import { digestOfApiKey, makeApiKey } from '../dist/identity/api-key.js';
import { newRequestId } from '../dist/rest/request-id.js';
import { machine, say } from './support.mjs';

const ROUNDS = 10;
const CALLS = 20_000;

const secret = randomBytes(32);
const seal = new TokenSeal(secret);
const key = createSecretKey(secret);
const payload = randomBytes(32);
const { key: apiKey } = makeApiKey();
const time = '2026-11-22 05:09:10.123456+00';
const parsePg = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ);
const kind = Buffer.of(TokenKind.Receipt);
const sealByObject = () => {
  const mac = createHmac('sha256', key).update(kind).update(payload).digest().subarray(0, 16);
  return Buffer.concat([payload, mac]).toString('base64url');
};
const nothing = () => 0;

/** What, as the pod does it, and as it would be otherwise. */
const PARTS = [
  { what: 'a sealed receipt', ours: () => seal.seal(TokenKind.Receipt, payload), other: sealByObject },
  {
    what: 'the digest of an API key',
    ours: () => digestOfApiKey(apiKey),
    other: () => hash('sha256', apiKey, 'buffer').toString('base64'),
  },
  { what: 'the id of a request', ours: newRequestId, other: () => randomUUID().replaceAll('-', '').toUpperCase() },
  { what: 'a time of the database', ours: () => parseTimestamp(time), other: () => parsePg(time) },
  {
    what: 'to come back to a caller',
    ours: () => within(thisLane(), nothing),
    other: () => AsyncLocalStorage.snapshot()(nothing),
  },
];

function nanoseconds(act) {
  const start = process.hrtime.bigint();
  for (let call = 0; call < CALLS; call += 1) act();
  return Number(process.hrtime.bigint() - start) / CALLS;
}

say(`nanoseconds per call, the best of ${ROUNDS} rounds (${machine()})`);
inLane(() => {
  for (const { what, ours, other } of PARTS) {
    let [best, bestOther] = [Infinity, Infinity];
    for (let round = 0; round < ROUNDS; round += 1) {
      best = Math.min(best, nanoseconds(ours));
      bestOther = Math.min(bestOther, nanoseconds(other));
    }
    say(`${what}: ${best.toFixed(0)} instead of ${bestOther.toFixed(0)}, ratio ${(best / bestOther).toFixed(2)}`);
  }
});
