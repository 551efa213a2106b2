import fc from 'fast-check';
import { MAX_STATEMENT_LENGTH, parseStatement, PolicySyntaxError } from '../../src/policies/policy-syntax.js';

/** The refusal, which shows the place; null: it was read. Throws what is no refusal. */
function refusalOf(statement: string): PolicySyntaxError | null {
  try {
    parseStatement(statement);
    return null;
  } catch (error) {
    if (error instanceof PolicySyntaxError) return error;
    throw error;
  }
}

describe('a statement', () => {
  it.each([
    [
      'allow group Administrators to manage all-resources in tenancy',
      { groups: [{ name: 'Administrators' }], verb: 'manage', resourceType: 'all-resources', location: {} },
    ],
    [
      'ALLOW Group Producers,  "night shift" , id ocid1.group.oc1..x TO Use Queue-Push IN Compartment shop:"a b":Orders',
      {
        groups: [{ name: 'Producers' }, { name: 'night shift' }, { id: 'ocid1.group.oc1..x' }],
        verb: 'use',
        resourceType: 'queue-push',
        location: { path: ['shop', 'a b', 'Orders'] },
      },
    ],
    [
      "allow any-user to inspect queues in compartment id ocid1.c where target.queue.id = 'ocid1.queue'",
      {
        verb: 'inspect',
        resourceType: 'queues',
        location: { id: 'ocid1.c' },
        condition: { variable: 'target.queue.id', operator: '=', value: 'ocid1.queue', isPattern: false },
      },
    ],
    [
      "allow group a to read queue-family in tenancy where ANY {target.queue.name != /dev-*/, all{Target.Queue.Name='x',target.queue.id=\"'\"}}",
      {
        groups: [{ name: 'a' }],
        verb: 'read',
        resourceType: 'queue-family',
        location: {},
        condition: {
          any: [
            { variable: 'target.queue.name', operator: '!=', value: 'dev-*', isPattern: true },
            {
              all: [
                { variable: 'target.queue.name', operator: '=', value: 'x', isPattern: false },
                { variable: 'target.queue.id', operator: '=', value: "'", isPattern: false },
              ],
            },
          ],
        },
      },
    ],
    // A group and a compartment may be called like a word of the grammar, in quotes.
    [
      "allow group 'id' to use queues in compartment 'id'",
      { groups: [{ name: 'id' }], verb: 'use', resourceType: 'queues', location: { path: ['id'] } },
    ],
  ])('is read: %s', (statement, meaning) => {
    expect(parseStatement(statement)).toEqual(meaning);
  });

  it.each([
    ['', /^at character 1, after "", before "": expected allow$/],
    ['deny group x to use queues in tenancy', /^at character 1, .*before "deny group x to use ": expected allow$/],
    ['allow user x to use queues in tenancy', /^at character 7, after "allow ", .*expected group and its name/],
    ['allow group to use queues in tenancy', /expected to$/],
    ['allow group a, to use queues in tenancy', /expected to$/],
    ['allow group a to own queues in tenancy', /^at character 18, .*a verb: inspect, read, use, manage$/],
    ['allow group a to use buckets in tenancy', /^at character 22, .*a resource type: queues, queue-push, /],
    ['allow group a to use queues', /^at character 28, .*before "": expected in$/],
    ['allow group a to use queues in region', /expected tenancy, or compartment and its name$/],
    ['allow group a to use queues in compartment', /expected the name of a compartment$/],
    ['allow group a to use queues in compartment a:', /expected the name of a compartment$/],
    ["allow group '' to use queues in tenancy", /expected the name of a group, which is not empty$/],
    ['allow group a to manage identity in compartment b', /expected tenancy: identity is in no compartment$/],
    ['allow group a to use stomp-sessions in compartment b', /expected tenancy: stomp-sessions is in no compartment$/],
    ['allow group a to read audit in compartment b', /expected tenancy: audit is in no compartment$/],
    ['allow group a to use queues in tenancy and', /expected where, or the end of the statement$/],
    ['allow group a to use queues in tenancy where', /expected any, all or a variable: target.queue.id, /],
    ["allow group a to use queues in tenancy where request.user.id = 'x'", /^at character 46, .*a variable/],
    ["allow group a to use queues in tenancy where target.queue.id > 'x'", /expected a word; names with other/],
    ["allow group a to use queues in tenancy where target.queue.id 'x'", /expected = or !=$/],
    ['allow group a to use queues in tenancy where target.queue.id = x', /expected a string in quotes/],
    [
      "allow group a to use queues in tenancy where target.queue.id = 'x",
      /^at character 64, .*this quote is not closed$/,
    ],
    ['allow group a to use queues in tenancy where target.queue.name = /x', /this pattern is not closed/],
    ["allow group a to use queues in tenancy where any {target.queue.id = 'x'", /a comma or a closing brace$/],
    ["allow group a to use queues in tenancy where any target.queue.id = 'x'", /expected an opening brace$/],
    ["allow group a to use queues in tenancy where target.queue.id = 'x' or", /expected the end$/],
    ["allow group '\0' to use queues in tenancy", /NUL and half surrogate pairs/],
    ["allow group '\ud800' to use queues in tenancy", /NUL and half surrogate pairs/],
    [`allow group a to use queues in tenancy where ${'any {'.repeat(9)}`, /any and all go at most 8 deep$/],
    [`allow group ${'a'.repeat(MAX_STATEMENT_LENGTH)}`, /a statement has at most 2000 characters$/],
  ])('that cannot be read says where: %j', (statement, message) => {
    expect(refusalOf(statement)?.message).toMatch(message);
  });

  it('is never anything but read or refused, whatever it is', () => {
    const words = ['allow', 'group', 'any-user', 'to', 'use', 'queues', 'in', 'tenancy', 'compartment', 'id', 'where'];
    const signs = ['any', 'all', '{', '}', ',', ':', '=', '!=', "'x'", '"', "'", '/', 'target.queue.id', ' ', '\ud800'];
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...words, ...signs), fc.string({ unit: 'binary', maxLength: 4 }))),
        (parts) => {
          const statement = parts.join(' ');
          const refusal = refusalOf(statement);
          const isSound =
            refusal === null ||
            (refusal.position <= statement.length &&
              /^at character \d+, after "/.test(refusal.message) &&
              refusal.message.isWellFormed());
          expect([statement, refusal?.message, isSound]).toEqual([statement, refusal?.message, true]);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
