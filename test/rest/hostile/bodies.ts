import { bodySchemaOf, type NamedOperation } from '../../openapi/document.js';
import { expectSenseOfField } from './attack.js';
import { placesOf } from './places.js';
import { describeHostileInput, hasBody, LONG } from './support.js';
import { HOSTILE_JSON } from './values.js';

const isOfQueues = ({ tags }: NamedOperation): boolean => tags?.[0] === 'queues' || tags?.[0] === 'consumer groups';

/** Which operations each half attacks. They take about as long, each in a file of its own. */
const HALVES = {
  queues: isOfQueues,
  others: (operation: NamedOperation): boolean => !isOfQueues(operation),
};

type Half = keyof typeof HALVES;

const halfOf = (operations: readonly NamedOperation[], half: Half): NamedOperation[] =>
  operations.filter(hasBody).filter(HALVES[half]);

const idsOf = (operations: readonly NamedOperation[]): string[] =>
  operations.map(({ operationId }) => operationId).toSorted();

/** Every field of every body, of one half of the operations. */
export function describeBodies(half: Half): void {
  describeHostileInput((attack) => {
    it('leaves out no operation that has a body, and attacks none twice', () => {
      const { operations } = attack();
      expect(halfOf(operations, half).length).toBeGreaterThanOrEqual(5);
      expect(idsOf([...halfOf(operations, 'queues'), ...halfOf(operations, 'others')])).toEqual(
        idsOf(operations.filter(hasBody)),
      );
    });

    it(
      'in every field of every body',
      async () => {
        const { document, operations } = attack();
        for (const operation of halfOf(operations, half)) {
          for (const { path } of placesOf(document, bodySchemaOf(operation)!)) {
            for (const json of HOSTILE_JSON) await expectSenseOfField(attack(), operation, path, json);
          }
        }
      },
      LONG,
    );
  });
}
