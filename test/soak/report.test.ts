import { PROPERTIES } from '../history/check/properties.js';
import type { Operation } from '../history/history.js';
import { delivery, del, get, HAND_MADE_RULES, put } from '../history/hand-made.js';
import { newCounts } from '../history/stomp/target.js';
import { countKinds, latencies } from './figures.js';
import type { Inflicted } from './inflicting.js';
import { readOptions, type SoakOptions } from './options.js';
import { PLANTS } from './plants.js';
import { markdownOf, reportOf } from './report.js';
import { isGreen, type SoakResult } from './soak.js';

const OPERATIONS: readonly Operation[] = [
  put(0, ['a', 'b']),
  put(100, ['c'], 'unknown'),
  get(200, [delivery(200, 'a', 1), delivery(200, 'b', 1)]),
  del(300, 'a1'),
  del(5000, 'b1', 'refused'),
  put(6000, ['d']),
];

const INFLICTED: readonly Inflicted[] = [
  {
    name: 'pod-kill',
    hit: 'pod 0',
    beganAt: 50,
    healedAt: 2050,
    recoveredAt: 3050,
    silentMs: 2500,
    answered: 3,
    unanswered: 1,
    note: null,
  },
  {
    name: 'pod-kill',
    hit: 'pod 1',
    beganAt: 7000,
    healedAt: 8000,
    recoveredAt: 8500,
    silentMs: 900,
    answered: 0,
    unanswered: 0,
    note: 'something | odd',
  },
];

const QUEUES = [{ history: { rules: HAND_MADE_RULES, operations: OPERATIONS } }];

const RESULT = {
  stage: { queues: QUEUES, target: { commits: [], counts: newCounts() } } as unknown as SoakResult['stage'],
  startedAt: 0,
  loadSeconds: 65,
  legs: 1,
  checkSeconds: 0.1,
  inflicted: INFLICTED,
  notRun: [{ name: 'disk-full', why: 'only root may mount a file system' }],
  violations: [],
  complaints: [],
  aftermath: [{ what: 'no message is left', found: '0', isGood: true }],
  log: [{ level: 'warn', text: 'the listening connection is gone', count: 3, isExpected: true }],
  memory: [{ slot: 0, firstMib: 170, firstSeconds: 0, lastMib: 190, lastSeconds: 65 }],
  loadAverage: [1, 2],
  podLogs: [],
  soakMib: [150, 220],
  disk: 'a tmpfs',
  serverVersion: '18.4',
  wasEndedEarly: false,
} satisfies SoakResult;

const OPTIONS = readOptions(['--seed', '7']) as SoakOptions;

const told = (more: Partial<SoakResult> = {}): string => markdownOf(reportOf({ ...RESULT, ...more }, OPTIONS, null));

describe('the report of a soak', () => {
  it('tells the conditions, each fault, what was checked, what is left and the verdict', () => {
    const text = told();
    for (const line of [
      '# A soak of Towpath: green',
      'seed 7, 40 messages put per second at most, 2 pods, drained and checked 1 times',
      '1:05 of load of 5 minutes asked for',
      '| pod-kill | SIGKILL of a pod: nothing in it gets to know | another pod in its place | 2 | 2.5 s | 1.0 s | 1.0 s |',
      '- not run: disk-full: only root may mount a file system',
      '| 0:00 | pod-kill | pod 0 | 2.0 s | 1.0 s | 2.5 s | 3 | 1 |  |',
      '| 0:07 | pod-kill | pod 1 | 1.0 s | 0.5 s | 0.9 s | 0 | 0 | something \\| odd |',
      '| put | 2 | 0 | 1 |',
      '| no acknowledged message is lost | 4 messages, counted in each group that takes one; 4 were put | 0 |',
      '| a live receipt is honoured | 1 receipts that were refused | 0 |',
      '| no message is left | 0 | good |',
      '| 3 | warn | the listening connection is gone |  |',
      'Green: no promise was broken',
    ]) {
      expect(text).toContain(line);
    }
  });

  it('has all figures in JSON, and no histories', () => {
    const report = reportOf(RESULT, OPTIONS, null);
    const read = JSON.parse(JSON.stringify(report)) as Record<string, unknown>;
    expect(read).toMatchObject({
      isGreen: true,
      plant: null,
      options: { seed: 7 },
      startedAt: '1970-01-01T00:00:00.000Z',
    });
    expect(read['faults']).toMatchObject([
      { beganAfter: 0.05, healedAfter: 2.05, recoverySeconds: 1 },
      { name: 'pod-kill' },
    ]);
    expect(Object.keys(read)).not.toContain('stage');
  });

  it.each<[string, Partial<SoakResult>, string]>([
    [
      'a broken promise',
      { violations: [{ property: PROPERTIES.lost, group: '', key: 'a', what: 'put [0, 10]' }] },
      `1 violations of “${PROPERTIES.lost}”`,
    ],
    ['a complaint', { complaints: ['pod 0 has ended by itself'] }, '1 complaints'],
    ['what is left', { aftermath: [{ what: 'no message is left', found: '2', isGood: false }] }, '1 things left'],
    [
      'an error in the log',
      { log: [{ level: 'error', text: 'x', count: 1, isExpected: false }] },
      '1 unexpected messages',
    ],
  ])('is red by %s', (_what, more, words) => {
    expect(isGreen({ ...RESULT, ...more })).toBe(false);
    const text = told(more);
    expect(text).toContain('# A soak of Towpath: RED');
    expect(text).toContain(words);
  });

  it('tells some violations of each property in words', () => {
    const violations = Array.from({ length: 8 }, (_, n) => ({
      property: PROPERTIES.lost,
      group: 'g',
      key: `m${n}`,
      what: 'gone',
    }));
    const text = told({ violations });
    expect(text).toContain(`### Broken: ${PROPERTIES.lost}\n\n- g: m0: gone\n`);
    expect(text).toContain('- and 3 more');
    expect(text).not.toContain('m5');
  });

  it('says which bug was planted', () => {
    const plant = PLANTS.find(({ name }) => name === 'lost-put') ?? null;
    expect(markdownOf(reportOf(RESULT, OPTIONS, plant))).toContain(
      'A bug was planted: lost-put: a put that acknowledges',
    );
  });
});

describe('the figures of a soak', () => {
  it('count operations by kind and outcome', () => {
    expect(countKinds(OPERATIONS, [])).toEqual([
      { kind: 'put', done: 2, refused: 0, unknown: 1 },
      { kind: 'get', done: 1, refused: 0, unknown: 0 },
      { kind: 'delete', done: 1, refused: 1, unknown: 0 },
      { kind: 'transaction', done: 0, refused: 0, unknown: 0 },
    ]);
  });

  it('tell quiet times from faults', () => {
    expect(latencies(OPERATIONS, INFLICTED).map(({ what, count }) => [what, count])).toEqual([
      ['put, quiet', 2],
      ['put, in faults', 0],
      ['delete, quiet', 0],
      ['delete, in faults', 1],
    ]);
  });
});
