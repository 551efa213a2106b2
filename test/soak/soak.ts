import { loadavg } from 'node:os';
import { checkHistories } from '../history/check.js';
import type { Violation } from '../history/check/properties.js';
import { clock } from '../history/history.js';
import { runLoad } from '../history/load.js';
import { environmentFor } from '../history/planted/planted-bug.js';
import { settle } from '../history/settle.js';
import { runStompLoad } from '../history/stomp/load.js';
import { queueOf } from '../history/stomp/target.js';
import { lookAt, type Aftermath } from './aftermath.js';
import { FAULTS } from './faults/all.js';
import type { Fault } from './faults/fault.js';
import { Inflicting, type Inflicted } from './inflicting.js';
import { residentMib } from './memory.js';
import type { SoakOptions } from './options.js';
import { paced } from './pace.js';
import type { SoakPlant } from './plants.js';
import { distinctMessages, type LogMessage } from './pod-logs.js';
import { Probe } from './probe.js';
import { seeded } from './random.js';
import { Schedule } from './schedule.js';
import { Stage } from './stage.js';

/** Without faults a pod carries out what its client gave up in this time, however slow the machine. */
const LINGER_MS = 5000;
/** A statement is given up after 30 seconds; till then it may still be carried out. */
const LINGER_IN_FAULTS_MS = 45_000;
const QUIET_SECONDS = [3, 8] as const;
const QUIET_SECONDS_WITH_PLANT = [1, 3] as const;
/** A client of STOMP is away for so long between two connections, at most. */
const AWAY_MS = 1500;
const TELL_EVERY_MS = 1000;
const LOOK_AT_MEMORY_EVERY = 15;

export interface Progress {
  readonly elapsedSeconds: number;
  readonly remainingSeconds: number;
  readonly operations: number;
  /** Null where it cannot be told at the moment. */
  readonly messages: number | null;
  readonly fault: string;
}

/** What a pod had in memory when it was looked at first and last. */
export interface PodMemory {
  readonly slot: number;
  readonly firstMib: number;
  readonly firstSeconds: number;
  readonly lastMib: number;
  readonly lastSeconds: number;
}

/** What is known when a soak is over. */
export interface SoakResult {
  readonly stage: Pick<Stage, 'queues' | 'target'>;
  readonly startedAt: number;
  readonly loadSeconds: number;
  readonly legs: number;
  readonly checkSeconds: number;
  readonly inflicted: readonly Inflicted[];
  /** Faults that did not come, with the reason. */
  readonly notRun: readonly { readonly name: string; readonly why: string }[];
  readonly violations: readonly Violation[];
  /** What else must not be. */
  readonly complaints: readonly string[];
  readonly aftermath: readonly Aftermath[];
  readonly log: readonly LogMessage[];
  readonly memory: readonly PodMemory[];
  /** Of the machine, over the last minute. */
  readonly loadAverage: readonly [begin: number, end: number];
  /** What each pod wrote, whole. */
  readonly podLogs: readonly string[];
  /** Of the process that has the history. */
  readonly soakMib: readonly [begin: number, end: number];
  readonly disk: string;
  readonly serverVersion: string;
  readonly wasEndedEarly: boolean;
}

export function isGreen({ violations, complaints, aftermath, log }: SoakResult): boolean {
  const isQuiet = log.every(({ isExpected }) => isExpected);
  return violations.length === 0 && complaints.length === 0 && isQuiet && aftermath.every(({ isGood }) => isGood);
}

/** Runs until its time is over, the signal, or what must not be; then everything of it is gone. */
export async function runSoak(
  options: SoakOptions,
  plant: SoakPlant | null,
  tell: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<SoakResult> {
  const names = plant === null || options.areFaultsNamed ? options.faults : plant.faults;
  const stage = await Stage.start({
    pods: options.pods,
    diskMib: options.diskMib,
    environment: plant === null ? {} : environmentFor(plant),
    lingerMs: names.length === 0 ? LINGER_MS : LINGER_IN_FAULTS_MS,
  });
  try {
    return await new Soak(options, plant, names, stage, tell, signal).run();
  } finally {
    await stage.stop();
  }
}

class Soak {
  private readonly startedAt = clock();
  private readonly inflicting: Inflicting;
  private readonly probe: Probe;
  private readonly possible: Fault[] = [];
  private readonly notRun: { name: string; why: string }[] = [];
  private readonly complaints: string[] = [];
  private readonly memory = new Map<number, PodMemory>();
  private readonly soakMib: [number, number] = [0, 0];
  private violations: Violation[] = [];
  private checkSeconds = 0;
  private loadSeconds = 0;
  private legs = 0;
  private told = 0;

  constructor(
    private readonly options: SoakOptions,
    private readonly plant: SoakPlant | null,
    names: readonly string[],
    private readonly stage: Stage,
    private readonly tell: (progress: Progress) => void,
    private readonly signal: AbortSignal,
  ) {
    for (const fault of FAULTS.filter(({ name }) => names.includes(name))) {
      const why = fault.refusal?.(stage) ?? null;
      if (why === null) this.possible.push(fault);
      else this.refuse(fault.name, why);
    }
    const random = seeded(options.seed);
    const schedule = new Schedule(this.possible, random, plant === null ? QUIET_SECONDS : QUIET_SECONDS_WITH_PLANT);
    const queue = queueOf(stage.target, 'out');
    this.probe = new Probe(stage.slots.map(({ clients }) => queue.statsAt(`http://127.0.0.1:${clients.port}`)));
    this.inflicting = new Inflicting(stage, schedule, random, this.probe);
  }

  async run(): Promise<SoakResult> {
    const [loadBefore = NaN] = loadavg();
    const telling = setInterval(() => void this.report(), TELL_EVERY_MS);
    try {
      await this.plant?.plant?.(this.stage);
      await this.plant?.configure?.(this.stage);
      this.soakMib[0] = (await residentMib(process.pid)) ?? 0;
      await this.lookAtMemory();
      await this.runLegs();
      const { stage } = this;
      await this.probe.stop();
      const aftermath = await lookAt(stage, this.isRed);
      await this.lookAtMemory();
      this.soakMib[1] = (await residentMib(process.pid)) ?? 0;
      const logs = stage.pods.map(({ process: pod }) => pod.log);
      const [version] = await stage.sql<{ server_version: string }>('show server_version');
      return {
        stage,
        startedAt: this.startedAt,
        loadSeconds: this.loadSeconds,
        legs: this.legs,
        checkSeconds: this.checkSeconds,
        inflicted: this.inflicting.inflicted,
        notRun: [...this.notRun, ...this.missed()],
        violations: this.violations,
        complaints: [...this.complaints, ...this.inflicting.complaints, ...this.surprises()],
        aftermath,
        log: distinctMessages(logs),
        memory: [...this.memory.values()],
        soakMib: this.soakMib,
        loadAverage: [loadBefore, loadavg()[0] ?? NaN],
        podLogs: logs,
        disk: await diskOf(stage),
        serverVersion: version?.server_version ?? '?',
        wasEndedEarly: this.signal.aborted,
      };
    } finally {
      clearInterval(telling);
      await this.probe.stop();
    }
  }

  private get endsAt(): number {
    return this.startedAt + this.options.minutes * 60_000;
  }

  /** There is no need to go on. A planted bug may break more than what it is known for; then what it is known for is waited for. */
  private get isRed(): boolean {
    const { plant } = this;
    const broken = this.violations.filter(({ property }) => plant === null || plant.breaks.includes(property));
    return broken.length + this.complaints.length + this.inflicting.complaints.length > 0;
  }

  private async runLegs(): Promise<void> {
    const pace = paced(this.options.rate);
    do {
      const seconds = Math.max(1, Math.min(this.options.legSeconds, (this.endsAt - clock()) / 1000));
      const since = clock();
      const failure = new AbortController();
      const over = AbortSignal.any([this.signal, failure.signal]);
      const load = { seconds, signal: over, pace };
      const inflicting = this.inflicting.run(since + seconds * 1000, over).then(() => {
        if (this.isRed) failure.abort();
      });
      const working = [
        runStompLoad(this.stage.target, { ...load, awayMs: AWAY_MS }),
        runLoad(queueOf(this.stage.target, 'groups'), { ...load, producers: 3, consumers: 32, redrives: true }),
        inflicting,
      ];
      for (const work of working) work.catch(() => failure.abort());
      await Promise.all(working);
      await this.lookAtMemory();
      this.loadSeconds += (clock() - since) / 1000;
      this.legs += 1;
      await this.settle();
    } while (!this.isRed && !this.signal.aborted && clock() < this.endsAt);
  }

  /** All is healed: whatever there is is taken, and then the histories are complete. */
  private async settle(): Promise<void> {
    const { stage } = this;
    await stage.ready();
    try {
      for (const queue of stage.queues) await settle(queue, stage);
    } catch (error) {
      this.complaints.push(`the queues did not settle: ${String(error)}`);
    }
    const since = clock();
    const histories = new Map([...stage.target.queues].map(([name, { history }]) => [name, history]));
    this.violations = checkHistories(histories, stage.target.commits);
    this.checkSeconds = (clock() - since) / 1000;
    for (const { process: pod, isEnded, slot } of stage.pods) {
      if (pod.hasEnded && !isEnded) this.complaints.push(`pod ${slot} has ended by itself`);
    }
  }

  private surprises(): string[] {
    const { queues, target } = this.stage;
    const found = [...queues.flatMap(({ surprises }) => surprises), ...target.surprises];
    return found.map((surprise) => `no client should be answered: ${surprise}`);
  }

  private refuse(name: string, why: string): void {
    this.notRun.push({ name, why });
    if (this.options.areFaultsNamed) this.complaints.push(`${name} was asked for and cannot be had: ${why}`);
  }

  /** Those for which there was no time. */
  private missed(): { name: string; why: string }[] {
    const came = new Set(this.inflicting.inflicted.map(({ name }) => name));
    const missed = this.possible.filter(({ name }) => !came.has(name));
    return missed.map(({ name }) => ({ name, why: 'there was no time for it' }));
  }

  private async lookAtMemory(): Promise<void> {
    for (const { process: pod, slot } of this.stage.pods) {
      const mib = await residentMib(pod.processId);
      if (mib === null) continue;
      const seconds = (clock() - this.startedAt) / 1000;
      const first = this.memory.get(pod.processId) ?? { firstMib: mib, firstSeconds: seconds };
      this.memory.set(pod.processId, { ...first, slot, lastMib: mib, lastSeconds: seconds });
    }
  }

  private async report(): Promise<void> {
    this.told += 1;
    if (this.told % LOOK_AT_MEMORY_EVERY === 0) await this.lookAtMemory();
    const rows = await this.stage.sql<{ n: number }>('select count(*)::int as n from towpath.message').catch(() => []);
    const elapsed = (clock() - this.startedAt) / 1000;
    this.tell({
      elapsedSeconds: elapsed,
      remainingSeconds: Math.max(0, this.options.minutes * 60 - elapsed),
      operations: this.stage.queues.reduce((sum, { operations }) => sum + operations.length, 0),
      messages: rows[0]?.n ?? null,
      fault: this.inflicting.now,
    });
  }
}

async function diskOf({ filesystem }: Stage): Promise<string> {
  if (typeof filesystem === 'string') return `the disk of the machine (${filesystem})`;
  return `a tmpfs, ${Math.round(await filesystem.usedMib())} MiB of it in use at the end`;
}
