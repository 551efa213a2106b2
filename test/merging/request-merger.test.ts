import { jest } from '@jest/globals';
import fc from 'fast-check';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { ServiceError } from '../../src/errors/service-error.js';
import { currentLane, inLane, setLane } from '../../src/fairness/lane.js';
import { MergeCounts } from '../../src/messages/merging/merge-counts.js';
import { RequestMerger, TooManyWaiting, type MergerOptions } from '../../src/messages/merging/request-merger.js';

type Options = MergerOptions<string, string>;

/** As the server says no to a statement. */
const refusal = (code = 'TP4LE'): Error => Object.assign(new Error('refused'), { severity: 'ERROR', code });
const outage = (): Error => new Error('Connection terminated unexpectedly');

interface Statement {
  readonly requests: readonly string[];
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

/** Has it done in the lane of a caller. */
const by = <Result>(caller: string, act: () => Result): Result =>
  inLane(() => {
    setLane(caller);
    return act();
  });

/** A merger of texts whose statements are answered by the test, each text with itself in capitals. */
function setUp({
  bounds = {},
  ...options
}: Partial<Options> & {
  bounds?: { merging?: boolean; requests?: number; bytes?: number; waitMs?: number; backlog?: () => number };
} = {}) {
  const statements: Statement[] = [];
  const counts = new MergeCounts();
  const merger = new RequestMerger<string, string>(
    {
      kind: 'put',
      most: { entries: 100, bytes: 1000 },
      weigh: ({ length }) => ({ entries: 1, bytes: length }),
      holdsBytes: true,
      run: (requests) => {
        const { promise, resolve, reject } = Promise.withResolvers<string[]>();
        const answer = (): void => resolve(requests.map((request) => request.toUpperCase()));
        statements.push({ requests, answer, fail: reject });
        return promise;
      },
      ...options,
    },
    {
      merging: bounds.merging ?? true,
      maxWaitingRequests: bounds.requests ?? 1000,
      maxWaitingBytes: bounds.bytes ?? 100_000,
      databaseWaitMs: bounds.waitMs ?? 60_000,
      backlog: bounds.backlog ?? (() => 0),
    },
    counts,
  );
  const sent = (): (readonly string[])[] => statements.map(({ requests }) => requests);
  const submit = (request: string, key = 'queue'): Promise<string> => merger.submit(key, request);
  return { merger, counts, statements, sent, submit };
}

/** What is to be sent is sent at the end of the turn, before this; so is what an answer brings about. */
const turn = (): Promise<void> => endOfTurn();
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error: unknown) => error,
  );

describe('merging', () => {
  it('sends what comes in one turn together, and gives each its own answer', async () => {
    const { statements, sent, submit, merger } = setUp();
    const answers = Promise.all(['a', 'b', 'c'].map((request) => submit(request)));
    await turn();
    expect(sent()).toEqual([['a', 'b', 'c']]);
    statements[0]!.answer();
    expect(await answers).toEqual(['A', 'B', 'C']);
    await turn();
    expect(merger.size).toBe(0);
  });

  it('has two statements of a key under way at most, and gathers meanwhile', async () => {
    const { statements, sent, submit } = setUp();
    const answers: Promise<string>[] = [];
    for (const request of ['a', 'b', 'c', 'd']) {
      answers.push(submit(request));
      await turn();
    }
    expect(sent()).toEqual([['a'], ['b']]);
    statements[1]!.answer();
    await turn();
    expect(sent()).toEqual([['a'], ['b'], ['c', 'd']]);
    statements[0]!.answer();
    statements[2]!.answer();
    expect(await Promise.all(answers)).toEqual(['A', 'B', 'C', 'D']);
  });

  it('lets what has come and not begun begin first, of the same caller, for a while', async () => {
    const clock = jest.spyOn(performance, 'now').mockReturnValue(1000);
    try {
      const backlogs = new Map([['busy', 1]]);
      const { statements, sent, submit } = setUp({
        bounds: { backlog: () => backlogs.get(currentLane() ?? '') ?? 0 },
      });
      const busy = [by('busy', () => submit('a'))];
      const quiet = by('quiet', () => submit('x', 'other'));
      await turn();
      expect(sent()).toEqual([['x']]);
      busy.push(by('busy', () => submit('b')));
      backlogs.set('busy', 0);
      await turn();
      await turn();
      expect(sent()).toEqual([['x'], ['a', 'b']]);
      backlogs.set('busy', 1);
      busy.push(by('busy', () => submit('c')));
      await turn();
      await turn();
      expect(statements).toHaveLength(2);
      // However many of them there are: it is sent all the same.
      clock.mockReturnValue(1011);
      await turn();
      await turn();
      expect(sent()[2]).toEqual(['c']);
      for (const { answer } of statements) answer();
      expect(await Promise.all([quiet, ...busy])).toEqual(['X', 'A', 'B', 'C']);
    } finally {
      clock.mockRestore();
    }
  });

  it('keeps keys apart', async () => {
    const { statements, sent, submit } = setUp();
    const answers = Promise.all(['a', 'b', 'c'].map((request) => submit(request, request)));
    await turn();
    expect(sent()).toEqual([['a'], ['b'], ['c']]);
    for (const { answer } of statements) answer();
    await answers;
  });

  it('bounds a statement, by entries and bytes, and sends what is larger alone', async () => {
    const { statements, sent, submit } = setUp({ most: { entries: 3, bytes: 10 } });
    const requests = ['a', 'b', 'c', 'd', 'eeeeeeeee', 'f', 'ggggggggggggggg', 'h'];
    const answers = Promise.all(requests.map((request) => submit(request)));
    for (let index = 0; index < 5; index += 1) {
      await turn();
      statements[index]!.answer();
    }
    await answers;
    expect(sent()).toEqual([['a', 'b', 'c'], ['d', 'eeeeeeeee'], ['f'], ['ggggggggggggggg'], ['h']]);
  });

  it('is done in the lane of the one that waits longest, and of each where they are tried alone', async () => {
    const seen: (string | null)[] = [];
    const { submit } = setUp({
      run: async (requests) => {
        seen.push(currentLane());
        await turn();
        if (requests.length > 2) throw refusal();
        return requests.map((request) => request.toUpperCase());
      },
    });
    const first = [by('ana', () => submit('a')), by('ben', () => submit('b')), by('cleo', () => submit('c'))];
    await turn();
    await Promise.all([...first, by('dan', () => submit('d')), by('ana', () => submit('e'))]);
    expect(seen.map(String).join(' ')).toMatch(/^ana (?=.*dan)(?=.*ana.*ben.*cleo)\w+( \w+){3}$/);
  });

  it('is no merging where it is turned off', async () => {
    const { statements, sent, submit, counts } = setUp({ bounds: { merging: false, requests: 1 } });
    const answers = Promise.all(['a', 'b', 'c', 'd'].map((request) => submit(request)));
    expect(sent()).toEqual([['a'], ['b'], ['c'], ['d']]);
    for (const { answer } of statements) answer();
    expect(await answers).toEqual(['A', 'B', 'C', 'D']);
    expect(counts.waiting).toBe(0);
  });

  it('does not send what nobody wants any more', async () => {
    const gone = new Set<string>();
    const { statements, sent, submit } = setUp({ unwanted: (request) => (gone.has(request) ? 'nothing' : null) });
    const first = [submit('a'), submit('b')];
    await turn();
    const second = submit('c');
    await turn();
    const rest = [submit('d'), submit('e')];
    gone.add('d');
    await turn();
    statements[0]!.answer();
    await turn();
    statements[1]!.answer();
    await turn();
    expect(sent()).toEqual([['a', 'b'], ['c'], ['e']]);
    statements[2]!.answer();
    expect(await Promise.all([...first, second, ...rest])).toEqual(['A', 'B', 'C', 'nothing', 'E']);
  });
});

describe('a statement that fails', () => {
  it('is tried once for each request where the server refuses it, and only the bad ones fail', async () => {
    const { statements, sent, submit, counts } = setUp();
    const answers = ['a', 'bad', 'c'].map((request) => submit(request));
    const failed = errorOf(answers[1]!);
    await turn();
    statements[0]!.fail(refusal());
    await turn();
    statements[1]!.answer();
    await turn();
    const own = refusal('TP400');
    statements[2]!.fail(own);
    await turn();
    statements[3]!.answer();
    expect([await answers[0], await failed, await answers[2]]).toEqual(['A', own, 'C']);
    expect(sent()).toEqual([['a', 'bad', 'c'], ['a'], ['bad'], ['c']]);
    expect(counts.separated).toBe(3);
  });

  it.each([
    ['the connection broke', outage()],
    ['the server is going', Object.assign(new Error('bye'), { severity: 'FATAL', code: '57P01' })],
    ['the disk is full', Object.assign(new Error('full'), { severity: 'ERROR', code: '53100' })],
    ['the network failed', Object.assign(new Error('reset'), { code: 'ECONNRESET' })],
    ['a value could not be sent', new TypeError('no')],
    ['nothing was sent', new ServiceError('ServiceUnavailable', 'away')],
  ])('is never tried again where %s', async (_, error) => {
    const { statements, sent, submit } = setUp();
    const errors = ['a', 'b', 'c'].map((request) => errorOf(submit(request)));
    await turn();
    statements[0]!.fail(error);
    expect(await Promise.all(errors)).toEqual([error, error, error]);
    await turn();
    expect(sent()).toEqual([['a', 'b', 'c']]);
  });

  it('is never tried again where it was a single request’s', async () => {
    const { statements, sent, submit } = setUp();
    const error = errorOf(submit('a'));
    await turn();
    statements[0]!.fail(refusal());
    expect(await error).toMatchObject({ code: 'TP4LE' });
    await turn();
    expect(sent()).toEqual([['a']]);
  });

  it.each([
    [0, ['c', 'd']],
    [60_000, []],
  ])('fails those with it who have waited for the database for as long (%s ms)', async (waitMs, failed) => {
    const { statements, submit, counts } = setUp({ bounds: { waitMs }, most: { entries: 1, bytes: 1000 } });
    const outcomes = ['a', 'b', 'c', 'd'].map((request) => submit(request).catch((error: unknown) => error));
    await turn();
    const away = new ServiceError('ServiceUnavailable', 'away');
    statements[0]!.fail(away);
    await turn();
    for (let index = 1; index < 4; index += 1) {
      statements[index]?.answer();
      await turn();
    }
    const expected = ['c', 'd'].map((request) => (failed.includes(request) ? away : request.toUpperCase()));
    expect(await Promise.all(outcomes)).toEqual([away, 'B', ...expected]);
    expect(counts.waiting).toBe(0);
  });

  it('answers nobody where it has too few answers', async () => {
    const { submit } = setUp({ run: () => Promise.resolve(['one']) });
    const errors = ['a', 'b'].map((request) => errorOf(submit(request)));
    for (const error of await Promise.all(errors)) expect(error).toBeInstanceOf(Error);
  });

  it('does not keep the next ones back', async () => {
    const { statements, submit, merger } = setUp();
    const first = errorOf(submit('a'));
    await turn();
    const second = errorOf(submit('b'));
    await turn();
    const third = submit('c');
    statements[0]!.fail(outage());
    statements[1]!.fail(outage());
    await turn();
    statements[2]!.answer();
    expect(await third).toBe('C');
    for (const error of [await first, await second]) expect(error).toBeInstanceOf(Error);
    await turn();
    expect(merger.size).toBe(0);
  });
});

describe('back-pressure', () => {
  it('refuses what is more than may wait, by requests, and takes more once there is room', async () => {
    const { statements, sent, submit, counts } = setUp({ bounds: { requests: 2 } });
    const answers: Promise<string>[] = [];
    for (const request of ['a', 'b', 'c', 'd']) {
      answers.push(submit(request));
      await turn();
    }
    const error = await errorOf(submit('e'));
    expect(error).toBeInstanceOf(TooManyWaiting);
    expect(error).toMatchObject({ code: 'ServiceUnavailable', status: 503, retryAfterSeconds: 1 });
    // Others are not concerned.
    const other = submit('f', 'another queue');
    expect([counts.refused, counts.waiting]).toEqual([1, 3]);
    statements[0]!.answer();
    await turn();
    answers.push(submit('g'));
    for (let index = 1; index < 5; index += 1) {
      await turn();
      statements[index]?.answer();
    }
    expect(await Promise.all([...answers, other])).toEqual(['A', 'B', 'C', 'D', 'G', 'F']);
    expect(sent().flat()).not.toContain('e');
    expect(counts.waiting).toBe(0);
  });

  it('refuses what is more than may wait, by bytes, but takes one of any size', async () => {
    const { statements, submit } = setUp({ bounds: { bytes: 10 } });
    const answers = [submit('a')];
    await turn();
    answers.push(submit('b'));
    await turn();
    answers.push(submit('c'.repeat(50)));
    expect(await errorOf(submit('d'))).toBeInstanceOf(TooManyWaiting);
    for (let index = 0; index < 3; index += 1) {
      statements[index]!.answer();
      await turn();
    }
    expect((await Promise.all(answers)).map(({ length }) => length)).toEqual([1, 1, 50]);
  });
});

it('gives each request the outcome that it would have had alone, whatever comes when and fails how', async () => {
  // Each request says what becomes of it alone; a statement of several is refused where one of it is bad, and lost
  // where one of it is unlucky. Done is what a statement that was neither has done.
  const outcome = fc.constantFrom('good', 'good', 'good', 'bad', 'unlucky');
  const step = fc.record({ key: fc.constantFrom('p', 'q'), outcome, pause: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 5 }), async (steps, most) => {
      const done = new Map<string, number>();
      const tried = new Map<string, number>();
      const { submit, merger, counts } = setUp({
        most: { entries: most, bytes: 1000 },
        run: async (requests) => {
          expect(new Set(requests.map((request) => request[0])).size).toBe(1);
          expect(requests.length).toBeLessThanOrEqual(most);
          for (const request of requests) tried.set(request, (tried.get(request) ?? 0) + 1);
          await turn();
          if (requests.some((request) => request.includes('unlucky'))) throw outage();
          if (requests.some((request) => request.includes('bad'))) throw refusal();
          for (const request of requests) done.set(request, (done.get(request) ?? 0) + 1);
          return requests.map((request) => `done ${request}`);
        },
      });
      const requests: { readonly request: string; readonly outcome: string; readonly settled: Promise<unknown> }[] = [];
      for (const [index, { key, outcome: what, pause }] of steps.entries()) {
        const request = `${key}${index} ${what}`;
        requests.push({ request, outcome: what, settled: submit(request, key).catch((error: unknown) => error) });
        if (pause) await turn();
      }
      for (const { request, outcome: what, settled } of requests) {
        const answer = await settled;
        // A neighbour of one that was lost is lost with it: nobody knows what was done.
        const isLost = answer instanceof Error && answer.message.includes('terminated');
        const expected = isLost
          ? [answer, undefined]
          : what === 'bad'
            ? [refusal(), undefined]
            : [`done ${request}`, 1];
        expect([answer, done.get(request)]).toEqual(expected);
        expect(tried.get(request)).toBeLessThanOrEqual(2);
      }
      await turn();
      expect([merger.size, counts.waiting]).toEqual([0, 0]);
    }),
    { numRuns: 60 },
  );
});
