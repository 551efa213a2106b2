import fc from 'fast-check';
import { bodySchemaOf } from '../../openapi/document.js';
import { expectSense, expectSenseOfField, goodQuery } from './attack.js';
import { placesOf } from './places.js';
import { describeHostileInput, hasBody, LONG, parametersOf } from './support.js';
import { HOSTILE_JSON } from './values.js';

const JSON_TEXT = fc.oneof(
  fc.constantFrom(...HOSTILE_JSON),
  fc.jsonValue({ maxDepth: 5 }).map((value) => JSON.stringify(value)),
  fc.string({ unit: 'binary', maxLength: 300 }).map((value) => JSON.stringify(value)),
  fc.double().map((value) => (Number.isFinite(value) ? String(value) : '1e999')),
  fc.maxSafeInteger().map(String),
  fc.integer({ min: -2, max: 50_000 }).map(String),
);

/** As it stands in a path or a query. */
const TEXT = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 100 }).map((value) => encodeURIComponent(value.toWellFormed())),
  fc.integer({ min: -2, max: 50_000 }).map(String),
  fc.stringMatching(/^(%[0-9A-F]{2}){1,20}$/),
  fc.stringMatching(/^[!-"$-~]{0,50}$/),
);

describeHostileInput((attack) => {
  it(
    'at random, in any field',
    async () => {
      const { document, operations } = attack();
      const fields = operations
        .filter(hasBody)
        .flatMap((operation) =>
          placesOf(document, bodySchemaOf(operation)!).map(({ path }) => [operation, path] as const),
        );
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...fields), JSON_TEXT, ([operation, path], value) =>
          expectSenseOfField(attack(), operation, path, value),
        ),
        { numRuns: 1000 },
      );
    },
    LONG,
  );

  it(
    'at random, in any query parameter',
    async () => {
      const queries = attack().operations.flatMap((operation) =>
        parametersOf(operation, 'query')
          .filter(({ name }) => name !== 'timeoutInSeconds')
          .map((parameter) => [operation, parameter] as const),
      );
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...queries), TEXT, async ([operation, { name }], value) => {
          const path = `${attack().pathOf(operation)}?${goodQuery(operation, name)}${name}=${value}`;
          const call = attack().bodied(operation, { path });
          await expectSense(attack(), operation, call, `${name}=${value}`, () => null);
        }),
        { numRuns: 500 },
      );
    },
    LONG,
  );

  it(
    'at random, in any path parameter',
    async () => {
      const paths = attack().operations.flatMap((operation) =>
        parametersOf(operation, 'path').map((parameter) => [operation, parameter] as const),
      );
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...paths), TEXT, async ([operation, { name }], value) => {
          // A question mark would end the path, and dots alone name another one.
          const part = value.replace(/[?/#\\]|^\.+$/g, '') || 'x';
          const path = `${attack().pathOf(operation, { [name]: part })}?${goodQuery(operation)}`;
          const call = attack().bodied(operation, { path });
          await expectSense(attack(), operation, call, `${name} = ${part}`, () => 'nonsense');
        }),
        { numRuns: 500 },
      );
    },
    LONG,
  );
});
