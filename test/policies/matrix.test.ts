import { OPERATIONS } from '../openapi/contract.js';
import { operationsOf, type Document } from '../openapi/document.js';
import { Client, digestOf } from '../rest/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { callsOf, makeNames, missingNames, type Names } from './calls.js';
import { allow, makeMember, withoutIds, type Member } from './support.js';

const VERBS = ['inspect', 'read', 'use', 'manage'];
const TYPES = [
  'queues',
  'queue-push',
  'queue-pull',
  'consumer-groups',
  'policies',
  'identity',
  'audit',
  'stomp-sessions',
];
const LEVELS = ['tenancy', 'parent', 'own', 'sibling'] as const;

interface Case {
  readonly verb: string;
  readonly type: string;
  readonly level: (typeof LEVELS)[number];
  readonly member: Member;
}

/** In no compartment: a statement about them is about the tenancy. */
const OF_TENANCY = ['identity', 'audit', 'stomp-sessions'];

const seen = async ({ client }: Member, path: string, id: string): Promise<boolean> => {
  const { status, json } = await client.call({ path: `${path}limit=1000` });
  expect([path, status]).toEqual([path, 200]);
  return (json as { items: { id: string }[] }).items.some((item) => item.id === id);
};

/** What is in no compartment is refused before anything is looked for; explainAccess shows policies of the whole tenancy. */
const isLookedFor = (id: string): boolean =>
  id !== 'explainAccess' && !OF_TENANCY.includes(OPERATIONS[id]!.permission.split(' ')[1]!);

describe('every operation, for every verb at every level', () => {
  let pods: TestPods;
  let admin: Client;
  let names: Names;
  let nobody: Member;
  const cases: Case[] = [];

  beforeAll(async () => {
    pods = await startTestPods();
    admin = new Client(pods.pods[0]!.url, pods.credentials.apiKey);
    const { tenancyId } = pods.credentials;
    names = await makeNames(pods, admin);
    nobody = await makeMember(pods, 'nobody');
    const places = {
      tenancy: 'tenancy',
      parent: 'compartment parent',
      own: 'compartment parent:own',
      sibling: 'compartment parent:sibling',
    };
    for (const verb of VERBS) {
      for (const type of TYPES) {
        for (const level of OF_TENANCY.includes(type) ? (['tenancy'] as const) : LEVELS) {
          const name = `${verb}-${type}-${level}`;
          const member = await makeMember(pods, name);
          await allow(admin, tenancyId, name, `allow group ${name} to ${verb} ${type} in ${places[level]}`);
          cases.push({ verb, type, level, member });
        }
      }
    }
  }, 180_000);
  afterAll(async () => {
    admin.close();
    for (const { client } of [nobody, ...cases.map(({ member }) => member)]) client.close();
    await pods.stop();
  });

  /** Said from the contract's table and the page about policies. */
  function isPermitted(id: string, { verb, type, level }: Omit<Case, 'member'>): boolean {
    const [wantedVerb = '', wantedType = ''] = OPERATIONS[id]!.permission.split(' ');
    if (level === 'sibling' || VERBS.indexOf(wantedVerb) > VERBS.indexOf(verb)) return false;
    // The answer shows policies of the whole tenancy.
    if (id === 'explainAccess' && level !== 'tenancy') return false;
    if (type === wantedType) return true;
    return (
      type === 'queues' &&
      (wantedType === 'consumer-groups' || (verb === 'manage' && wantedType.startsWith('queue-pu')))
    );
  }

  it('has a call for every operation that needs a permission, and so has the contract', async () => {
    const document = (await admin.call({ path: '/openapi.json', root: true })).json as unknown as Document;
    const closed = operationsOf(document).filter(({ security }) => security?.length !== 0);
    expect(closed.length).toBeGreaterThan(30);
    expect(Object.keys(callsOf(names)).toSorted()).toEqual(closed.map(({ operationId }) => operationId).toSorted());
  });

  it('is answered as if there were nothing, in the same words, unless it is permitted', async () => {
    const nothing: Record<string, string> = {};
    for (const [id, call] of Object.entries(callsOf(missingNames(names)))) {
      const by = isLookedFor(id) ? admin : nobody.client;
      const { status, text } = await by.call(call);
      const said = isLookedFor(id) ? 'NotAuthorizedOrNotFound' : 'there is no such resource, or you may not use it';
      expect([id, status, text]).toEqual([id, 404, expect.stringContaining(said)]);
      nothing[id] = withoutIds(text);
    }

    const before = await digestOf(pods);
    const wrong: unknown[] = [];
    const ask = async (client: Client, id: string, what: object, isAllowed: boolean): Promise<void> => {
      const { status, text } = await client.call(callsOf(names)[id]!);
      const isNothing = status === 404 && withoutIds(text) === nothing[id];
      if (isNothing === isAllowed || status === 401 || status >= 500)
        wrong.push({ id, ...what, isAllowed, status, text });
    };
    for (const id of Object.keys(nothing)) await ask(nobody.client, id, { nobody: true }, false);
    expect(wrong).toEqual([]);
    // Nobody has changed anything.
    expect(await digestOf(pods)).toBe(before);

    let allowed = 0;
    for (const { member, ...rest } of cases) {
      await Promise.all(
        Object.keys(nothing).map((id) => {
          // Whoever may list consumer groups may list what became of them.
          const isAllowed =
            isPermitted(id, rest) || (id === 'listWorkRequests' && isPermitted('listConsumerGroups', rest));
          if (isAllowed) allowed += 1;
          return ask(member.client, id, rest, isAllowed);
        }),
      );
    }
    expect(wrong).toEqual([]);
    expect(allowed).toBeGreaterThan(200);
  }, 240_000);

  it('lists of what is everywhere only what is permitted', async () => {
    const lists: readonly (readonly [string, string, string])[] = [
      ['listQueues', '/queues?', names.queueId],
      ['listConsumerGroups', '/consumerGroups?', names.consumerGroupId],
      ['listWorkRequests', '/workRequests?', names.workRequestId],
      ['listPolicies', '/policies?', names.policyId],
    ];
    for (const [id, path, item] of lists) {
      expect([id, await seen(nobody, path, item)]).toEqual([id, false]);
      for (const { member, ...rest } of cases) {
        expect([id, rest, await seen(member, path, item)]).toEqual([id, rest, isPermitted(id, rest)]);
      }
    }
  }, 120_000);
});
