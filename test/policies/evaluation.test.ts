import fc from 'fast-check';
import type { Permission } from '../../src/identity/permission.js';
import { parseStatement } from '../../src/policies/policy-syntax.js';
import { matches, Rights, TenancyPolicies, type Target } from '../../src/policies/tenancy-policies.js';

/*
 * What is generated is a model: a statement as its parts, from which its text is written in some spelling. The evaluation
 * here goes by the parts and by the paths of compartments as texts, and shares nothing with the one under test, which
 * reads the text and climbs a tree.
 */

const VERBS = ['inspect', 'read', 'use', 'manage'];
const TYPES = ['queues', 'queue-push', 'queue-pull', 'consumer-groups', 'identity', 'policies'];
const GROUPS = ['a', 'b', 'night shift'];
const NAMES = ['orders', 'dev-1', 'dev-2', 'x'];
/** The tree, as paths from the root; the same name is in several places on purpose. */
const PATHS = ['', 'x', 'x/y', 'x/y/z', 'y', 'y/x', 'y/z'];
const idOf = (path: string): string => (path === '' ? 'root' : `id-${path}`);

/** What each resource type of statements gives, said in full rather than by a rule. */
const GIVES: Readonly<Record<string, readonly string[]>> = {
  queues: ['queues', 'consumer-groups'],
  'queue-push': ['queue-push'],
  'queue-pull': ['queue-pull'],
  'consumer-groups': ['consumer-groups'],
  'queue-family': ['queues', 'queue-push', 'queue-pull', 'consumer-groups'],
  identity: ['identity'],
  policies: ['policies'],
  'all-resources': TYPES,
};

interface Model {
  readonly groups: readonly string[] | null;
  readonly verb: string;
  readonly type: string;
  readonly path: string;
  readonly byId: boolean;
  readonly condition: { readonly variable: 'id' | 'name'; readonly isNot: boolean; readonly value: string } | null;
}

const modelArbitrary: fc.Arbitrary<Model> = fc
  .record({
    groups: fc.option(fc.uniqueArray(fc.constantFrom(...GROUPS), { minLength: 1 }), { freq: 5 }),
    verb: fc.constantFrom(...VERBS),
    type: fc.constantFrom(...Object.keys(GIVES)),
    path: fc.constantFrom(...PATHS),
    byId: fc.boolean(),
    condition: fc.option(
      fc.oneof(
        fc.record({
          variable: fc.constant('id' as const),
          isNot: fc.boolean(),
          value: fc.constantFrom('queue-1', 'queue-2'),
        }),
        fc.record({
          variable: fc.constant('name' as const),
          isNot: fc.boolean(),
          value: fc.constantFrom(...NAMES, 'dev-*'),
        }),
      ),
    ),
  })
  .map((model) => (model.type === 'identity' ? { ...model, path: '' } : model));

/** Each word as it is or in capitals. */
function written({ groups, verb, type, path, byId, condition }: Model, capitals: boolean): string {
  const word = (text: string): string => (capitals ? text.toUpperCase() : text);
  const subject =
    groups === null
      ? word('any-user')
      : `${word('group')} ${groups.map((name) => (/ /.test(name) ? `'${name}'` : name)).join(' , ')}`;
  const place =
    path === ''
      ? word('tenancy')
      : `${word('compartment')} ${byId ? `${word('id')} ${JSON.stringify(idOf(path))}` : path.replaceAll('/', ':')}`;
  const quoted = condition?.value.includes('*') === true ? `/${condition.value}/` : `'${condition?.value}'`;
  const where =
    condition === null
      ? ''
      : ` ${word('where')} ${word(`target.queue.${condition.variable}`)} ${condition.isNot ? '!=' : '='} ${quoted}`;
  return `${word('allow')} ${subject} ${word('to')} ${word(verb)} ${word(type)} ${word('in')} ${place}${where}`;
}

/** The same question, answered from the parts. */
function isAllowed(model: Model, groups: readonly string[], permission: string, path: string, target: Target): boolean {
  const [verb = '', type = ''] = permission.split(' ');
  if (model.groups !== null && !model.groups.some((group) => groups.includes(group))) return false;
  if (VERBS.indexOf(verb) > VERBS.indexOf(model.verb)) return false;
  const given = model.type === 'queues' && model.verb === 'manage' ? GIVES['queue-family']! : GIVES[model.type]!;
  if (!given.includes(type)) return false;
  if (!`/${path}/`.startsWith(model.path === '' ? '/' : `/${model.path}/`)) return false;
  if (model.condition === null) return true;
  const value = model.condition.variable === 'id' ? target.queue?.id : target.queue?.displayName;
  if (value === undefined) return false;
  const wanted = model.condition.value;
  const isEqual = wanted === 'dev-*' ? value.startsWith('dev-') : value === wanted;
  return isEqual !== model.condition.isNot;
}

const compartments = PATHS.map((path) => ({
  id: idOf(path),
  parentId: path === '' ? null : idOf(path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : ''),
  name: path.slice(path.lastIndexOf('/') + 1) || 'tenancy',
}));

function policiesOf(models: readonly Model[], capitals: boolean): TenancyPolicies {
  const statements = models.map((model) => written(model, capitals));
  return new TenancyPolicies('root', compartments, [
    { id: 'p', name: 'p', compartmentId: 'root', statements, parsed: statements.map(parseStatement) },
  ]);
}

/** Those of a user in the group a by one statement. */
const rightsBy = (statement: string, compartmentId = 'root', places = compartments): Rights =>
  new Rights(
    new TenancyPolicies('root', places, [
      { id: 'p', name: 'p', compartmentId, statements: [statement], parsed: [parseStatement(statement)] },
    ]),
    [{ id: 'g', name: 'a' }],
  );

describe('an evaluation', () => {
  it('says of every user, permission and place what an independent one says', () => {
    let allowed = 0;
    let denied = 0;
    fc.assert(
      fc.property(
        fc.array(modelArbitrary, { maxLength: 4 }),
        fc.boolean(),
        fc.subarray([...GROUPS]),
        fc.option(
          fc.record({
            id: fc.option(fc.constantFrom('queue-1', 'queue-2'), { nil: undefined }),
            displayName: fc.constantFrom(...NAMES),
          }),
          { nil: undefined },
        ),
        (models, capitals, groups, queue) => {
          const rights = new Rights(
            policiesOf(models, capitals),
            groups.map((name) => ({ id: `id of ${name}`, name })),
          );
          const wrong: unknown[] = [];
          for (const path of PATHS) {
            const target = { compartmentId: idOf(path), ...(queue === undefined ? {} : { queue }) };
            for (const permission of VERBS.flatMap((verb) => TYPES.map((type) => `${verb} ${type}` as Permission))) {
              const expected = models.filter((model) => isAllowed(model, groups, permission, path, target)).length;
              const found = rights.allowing(permission, target).length;
              const isRight =
                found === expected &&
                rights.may(permission, target) === expected > 0 &&
                // A list is never said to be empty of what there is.
                (expected === 0 || rights.mightIn(permission, idOf(path)));
              if (!isRight) wrong.push({ permission, path, found, expected });
              if (expected > 0) allowed += 1;
              else denied += 1;
            }
          }
          expect(wrong).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
    // Both were seen, often.
    expect(allowed).toBeGreaterThan(500);
    expect(denied).toBeGreaterThan(500);
  });

  it('gives nothing where a name leads nowhere, or out of the compartment of the policy', () => {
    const target = { compartmentId: 'id-x/y' };
    expect(rightsBy('allow group a to use queues in compartment x:y').may('use queues', target)).toBe(true);
    expect(rightsBy('allow group a to use queues in compartment x:y', 'id-x').may('use queues', target)).toBe(true);
    for (const [statement, compartmentId] of [
      ['allow group a to use queues in compartment x:gone', 'root'],
      ['allow group a to use queues in compartment id gone', 'root'],
      ['allow group a to use queues in compartment x:y', 'id-y'],
      ['allow group a to use queues in tenancy', 'id-x'],
    ] as const) {
      expect([statement, rightsBy(statement, compartmentId).may('use queues', target)]).toEqual([statement, false]);
      expect(rightsBy(statement, compartmentId).mightIn('use queues', undefined)).toBe(false);
    }
  });

  it('ends where compartments form a circle', () => {
    const circle = [
      { id: 'root', parentId: null, name: 't' },
      { id: 'c', parentId: 'd', name: 'c' },
      { id: 'd', parentId: 'c', name: 'd' },
    ];
    const lost = rightsBy('allow group a to use queues in tenancy', 'root', circle);
    expect(lost.may('use queues', { compartmentId: 'c' })).toBe(false);
  });

  it('matches patterns as a regular expression would', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 8 });
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 6 }), text, (pattern, value) => {
        const expression = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
        expect([pattern, value, matches(pattern, value)]).toEqual([pattern, value, expression.test(value)]);
      }),
      { numRuns: 3000 },
    );
  });
});
