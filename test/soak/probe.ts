import { setTimeout as sleep } from 'node:timers/promises';
import { clock } from '../history/history.js';

const EVERY_MS = 250;
const ANSWER_MS = 2000;

/** A GET. */
export interface Question {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** One question to a pod that its database has to answer. */
interface Sample {
  readonly askedAt: number;
  readonly answeredAt: number;
  readonly isGood: boolean;
}

/** Asks each pod again and again, as its clients would, whether it works. */
export class Probe {
  private readonly samples: Sample[][];
  private isOver = false;
  private readonly running: Promise<unknown>;

  /** What each pod is asked. */
  constructor(questions: readonly Question[]) {
    this.samples = questions.map(() => []);
    this.running = Promise.all(questions.map((question, pod) => this.run(question, pod)));
  }

  /** Every pod has answered something that it was asked since then. */
  hasRecovered(since: number): boolean {
    return this.firstGood(since).every((at) => at !== null);
  }

  /** When the last pod answered again; null: not yet. */
  recoveredAt(since: number): number | null {
    const firsts = this.firstGood(since);
    return firsts.includes(null) ? null : Math.max(...firsts.map(Number));
  }

  /** The longest time for which a pod did not answer anything it was asked, within these times. */
  longestSilenceMs(from: number, to: number): number {
    const silences = this.samples.map((samples) => {
      let last = from;
      let longest = 0;
      for (const { askedAt, answeredAt, isGood } of samples) {
        if (!isGood || answeredAt < from || askedAt > to) continue;
        longest = Math.max(longest, Math.min(answeredAt, to) - last);
        last = answeredAt;
      }
      return Math.max(longest, to - last);
    });
    return Math.max(0, Math.max(...silences) - EVERY_MS);
  }

  async stop(): Promise<void> {
    this.isOver = true;
    await this.running;
  }

  private firstGood(since: number): (number | null)[] {
    return this.samples.map(
      (samples) => samples.find(({ askedAt, isGood }) => isGood && askedAt >= since)?.answeredAt ?? null,
    );
  }

  private async run({ url, headers }: Question, pod: number): Promise<void> {
    while (!this.isOver) {
      const askedAt = clock();
      const isGood = await fetch(url, { headers, signal: AbortSignal.timeout(ANSWER_MS) }).then(
        async (response) => {
          await response.arrayBuffer();
          return response.ok;
        },
        () => false,
      );
      this.samples[pod]?.push({ askedAt, answeredAt: clock(), isGood });
      await sleep(EVERY_MS);
    }
  }
}
