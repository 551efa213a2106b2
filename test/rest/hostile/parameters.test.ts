import type { NamedOperation, Parameter, Schema } from '../../openapi/document.js';
import type { Answer } from '../support.js';
import { expectSense, goodQuery, type Attack } from './attack.js';
import { describeHostileInput, LONG, parametersOf } from './support.js';
import { HOSTILE_HEADERS, HOSTILE_TEXT } from './values.js';

/** Headers that nobody asked for. */
const FURTHER_HEADERS = {
  accept: 'text/html',
  'accept-version': '2.x',
  'content-encoding': 'gzip',
  range: 'bytes=0-1',
  'x-http-method-override': 'DELETE',
  'x-forwarded-host': 'elsewhere',
};

const asNumber = (schema: Schema, text: string): unknown =>
  schema.type === 'integer' && /^-?\d{1,15}$/.test(text) ? Number(text) : text;

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const namesOf = ({ operations }: Attack, place: Parameter['in']): string[] =>
  operations.flatMap((operation) => parametersOf(operation, place).map(({ name }) => name));

async function expectSenseOfHeader(
  attack: Attack,
  operation: NamedOperation,
  name: string,
  value: string,
): Promise<void> {
  const path = `${attack.pathOf(operation)}?${goodQuery(operation)}`;
  const call = attack.bodied(operation, { path, headers: { [name]: value } });
  await expectSense(attack, operation, call, `${name}: ${value}`, () => null);
}

describeHostileInput((attack) => {
  it('finds parameters of every kind', () => {
    expect(namesOf(attack(), 'query')).toEqual(
      expect.arrayContaining(['compartmentId', 'limit', 'page', 'channelFilter']),
    );
    expect(namesOf(attack(), 'path')).toEqual(expect.arrayContaining(['queueId', 'messageReceipt', 'workRequestId']));
    expect(namesOf(attack(), 'header')).toEqual(expect.arrayContaining(['if-match', 'opc-request-id']));
  });

  it(
    'in every query parameter',
    async () => {
      const { operations, validator } = attack();
      for (const operation of operations) {
        for (const { name, schema } of parametersOf(operation, 'query')) {
          const send = (query: string, isValid: () => string | null): Promise<Answer> => {
            const path = `${attack().pathOf(operation)}?${goodQuery(operation, name)}${query}`;
            return expectSense(attack(), operation, attack().bodied(operation, { path }), query, isValid);
          };
          for (const text of ['', ...HOSTILE_TEXT]) {
            await send(`${name}=${text}`, () => {
              const value = decoded(text);
              return validator.problems(schema, asNumber(schema, name === 'sortOrder' ? value.toUpperCase() : value));
            });
          }
          expect((await send(`${name}=1&${name}=1`, () => 'repeated')).status).toBe(400);
          const escaped = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
          expect((await send(`${name}=1&${escaped}=1`, () => 'repeated')).status).toBe(400);
          expect((await send(name, () => 'empty')).status).toBe(400);
        }
      }
    },
    LONG,
  );

  it(
    'in every path parameter',
    async () => {
      for (const operation of attack().operations) {
        for (const { name } of parametersOf(operation, 'path')) {
          for (const text of HOSTILE_TEXT) {
            const path = `${attack().pathOf(operation, { [name]: text })}?${goodQuery(operation)}`;
            const call = attack().bodied(operation, { path });
            const answer = await expectSense(attack(), operation, call, `${name} = ${text}`, () => 'nonsense');
            expect(answer.status).toBeGreaterThanOrEqual(400);
          }
        }
      }
    },
    LONG,
  );

  it(
    'in every header',
    async () => {
      for (const operation of attack().operations) {
        for (const { name } of parametersOf(operation, 'header')) {
          for (const value of HOSTILE_HEADERS) await expectSenseOfHeader(attack(), operation, name, value);
        }
        for (const [name, value] of Object.entries(FURTHER_HEADERS))
          await expectSenseOfHeader(attack(), operation, name, value);
      }
    },
    LONG,
  );
});
