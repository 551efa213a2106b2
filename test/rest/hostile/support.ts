import { bodySchemaOf, type NamedOperation, type Parameter } from '../../openapi/document.js';
import { Attack } from './attack.js';
import { placesOf } from './places.js';

/*
 * Every operation of the OpenAPI document, every path, query, header and body field in it, with every kind of value that
 * does not belong there. Fields and operations that are added later are covered by being in the document.
 *
 * What must hold, whatever is sent: never a 5xx; a 2xx only where the document's own schema takes the value; a 4xx has
 * the contract's form and has changed nothing in the database.
 */

/** It takes long on a busy machine. */
export const LONG = 900_000;

/** One file of attacks, on a pod and a database of its own: the files run beside each other. */
export function describeHostileInput(makeTests: (attack: () => Attack) => void): void {
  describe('hostile input', () => {
    let attack: Attack;

    beforeAll(async () => {
      attack = await Attack.begin();
    });
    afterAll(() => attack.end());

    it('finds what it attacks', () => {
      expect(attack.operations.length).toBeGreaterThanOrEqual(19);
      expect(namesOf(attack, 'createQueue')).toEqual(
        expect.arrayContaining(['displayName', 'capabilities.0.type', 'definedTags.key.key']),
      );
      expect(namesOf(attack, 'putMessages')).toEqual(
        expect.arrayContaining(['messages', 'messages.0.metadata.customProperties.key', 'messages.0.delayInSeconds']),
      );
    });

    makeTests(() => attack);

    it('left no trace on the objects of this process', () => {
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
      expect(Object.keys(Object.prototype)).toEqual([]);
    });
  });
}

const namesOf = (attack: Attack, id: string): string[] =>
  placesOf(attack.document, bodySchemaOf(attack.operation(id))!).map(({ path }) => path.join('.'));

export const hasBody = (operation: NamedOperation): boolean => bodySchemaOf(operation) !== undefined;

export const parametersOf = (operation: NamedOperation, place: Parameter['in']): Parameter[] =>
  (operation.parameters ?? []).filter((parameter) => parameter.in === place);
