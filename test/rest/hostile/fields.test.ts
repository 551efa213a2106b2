import { bodySchemaOf, resolve } from '../../openapi/document.js';
import { expectSense, expectSenseOfField, goodQuery } from './attack.js';
import { placesOf, type Path } from './places.js';
import { describeHostileInput, hasBody, LONG } from './support.js';
import { HOSTILE_JSON } from './values.js';

describeHostileInput((attack) => {
  it('takes the good requests that the attacks are made of', async () => {
    for (const operation of attack().operations) {
      const call = attack().bodied(operation, { path: `${attack().pathOf(operation)}?${goodQuery(operation)}` });
      const answer = await expectSense(attack(), operation, call, 'nothing wrong', () => null);
      expect([operation.operationId, answer.status < 300]).toEqual([operation.operationId, true]);
    }
  });

  it(
    'in fields that nobody knows',
    async () => {
      const { document, operations } = attack();
      for (const operation of operations.filter(hasBody)) {
        const objects: Path[] = [
          [],
          ...placesOf(document, bodySchemaOf(operation)!)
            .filter((place) => place.schema.properties !== undefined)
            .map(({ path }) => path),
        ];
        const names = ['unknown', 'constructor', 'toString'];
        for (const path of objects) {
          for (const [index, json] of HOSTILE_JSON.slice(-12).entries()) {
            await expectSenseOfField(attack(), operation, [...path, names[index % names.length]!], json);
          }
        }
      }
    },
    LONG,
  );

  it('where a required field is missing', async () => {
    const { document, operations } = attack();
    for (const operation of operations.filter(hasBody)) {
      const withoutBody = { path: attack().pathOf(operation) };
      for (const name of resolve(document, bodySchemaOf(operation)!).required ?? []) {
        const { [name]: _, ...body } = attack().goodBody(operation)!;
        const call = { ...withoutBody, body };
        const answer = await expectSense(attack(), operation, call, `without ${name}`, () => 'missing');
        expect(answer.json).toMatchObject({ code: 'MissingParameter' });
      }
      if (operation.requestBody?.required !== true) continue;
      expect((await expectSense(attack(), operation, withoutBody, 'no body', () => 'missing')).status).toBe(400);
    }
  });
});
