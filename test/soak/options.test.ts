import path from 'node:path';
import { FAULTS } from './faults/all.js';
import { HELP, listed, readOptions, UsageError, type SoakOptions } from './options.js';
import { PLANTS } from './plants.js';

const read = (...arguments_: string[]): SoakOptions => {
  const command = readOptions(arguments_, new Date('2026-11-23T05:00:00Z'));
  if (typeof command === 'string') throw new Error(command);
  return command;
};

describe('the options of a soak', () => {
  it('have defaults', () => {
    expect(read()).toEqual({
      minutes: 5,
      seed: expect.any(Number),
      faults: FAULTS.map(({ name }) => name),
      areFaultsNamed: false,
      plant: null,
      rate: 40,
      pods: 2,
      legSeconds: 300,
      diskMib: 768,
      out: path.resolve('soak-reports/2026-11-23T05-00-00.000Z'),
    });
    expect(Number.isInteger(read().seed)).toBe(true);
  });

  it('are read', () => {
    const given =
      '--minutes 0.5 --seed 7 --faults pod-kill,disk-full --rate 12.5 --pods 3 --leg-seconds 30 --disk-mib 512 --out /tmp/x';
    expect(read(...given.split(' '))).toEqual({
      minutes: 0.5,
      seed: 7,
      faults: ['pod-kill', 'disk-full'],
      areFaultsNamed: true,
      plant: null,
      rate: 12.5,
      pods: 3,
      legSeconds: 30,
      diskMib: 512,
      out: '/tmp/x',
    });
  });

  it('leave faults out', () => {
    const { faults, areFaultsNamed } = read('--without', 'pod-kill, pod-stop');
    expect(faults).toEqual(FAULTS.map(({ name }) => name).filter((name) => name !== 'pod-kill' && name !== 'pod-stop'));
    expect(areFaultsNamed).toBe(false);
    expect(read('--faults', '').faults).toEqual([]);
  });

  it('of a planted bug make short legs and a quicker load', () => {
    expect(read('--plant', 'stale-delete')).toMatchObject({
      plant: 'stale-delete',
      rate: 120,
      legSeconds: 20,
      minutes: 4,
    });
    expect(read('--plant', 'all').plant).toBe('all');
  });

  it.each([
    [['--minuets', '3'], /Unknown option '--minuets'[^]*--minutes N/],
    [['soon'], /Unexpected argument 'soon'[^]*--minutes N/],
    [['--minutes'], /argument missing/],
    [['--minutes', 'ten'], /--minutes takes a number from 0.05 to 10080, not ten/],
    [['--minutes', '0'], /--minutes takes a number from/],
    [['--seed', '1.5'], /--seed takes a whole number from 0 to 4294967295, not 1.5/],
    [['--pods', '9'], /--pods takes a whole number from 2 to 3, not 9/],
    [['--faults', 'pod-kil'], /there is no fault pod-kil\. There are: pod-kill, .*snapshot/],
    [['--without', 'fire'], /there is no fault fire\. There are: pod-kill, /],
    [['--faults', 'pod-kill', '--without', 'pod-stop'], /give --faults or --without, not both/],
    [['--plant', 'rose'], /there is no bug rose\. There are: double-claim, /],
  ])('%j is refused with what there is', (arguments_, message) => {
    expect(() => readOptions(arguments_)).toThrow(UsageError);
    expect(() => readOptions(arguments_)).toThrow(message);
  });

  it('tell themselves, and what there is', () => {
    expect(readOptions(['--help'])).toBe('help');
    expect(readOptions(['--list', '--minutes', '1'])).toBe('list');
    for (const name of [
      'minutes',
      'seed',
      'faults',
      'without',
      'plant',
      'rate',
      'pods',
      'leg-seconds',
      'disk-mib',
      'out',
      'list',
    ]) {
      expect(HELP).toContain(`--${name}`);
    }
    for (const { name, does } of FAULTS) expect(listed()).toContain(`${name.padEnd(24)}${does}`);
    for (const { name, what, breaks } of PLANTS) {
      expect(listed()).toContain(`${name.padEnd(24)}${what}`);
      expect(listed()).toContain(breaks[0]);
    }
  });
});

describe('faults and bugs', () => {
  it('have names of their own, and bugs name faults that there are', () => {
    const names = [...FAULTS, ...PLANTS].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const known = FAULTS.map(({ name }) => name);
    for (const { faults, plant, inPods, configure } of PLANTS) {
      for (const name of faults) expect(known).toContain(name);
      expect([plant, inPods, configure].some((way) => way !== undefined)).toBe(true);
    }
  });
});
