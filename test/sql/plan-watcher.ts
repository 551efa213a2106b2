import pg from 'pg';
import type { Run } from './support.js';

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows'?: number;
  readonly 'Actual Loops'?: number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly 'Shared Hit Blocks'?: number;
  readonly 'Shared Read Blocks'?: number;
  readonly Plans?: readonly PlanNode[];
}

interface LoggedPlan {
  readonly 'Query Text': string;
  readonly Plan: PlanNode;
  readonly JIT?: unknown;
}

/** What the statements inside one call of a function did. */
export interface Cost {
  /** Scans of tables of ours that read them from end to end, or in no order. */
  readonly badScans: readonly string[];
  /** Rows that any node produced or threw away, at most. */
  readonly rows: number;
  /** Rows that went through a sort, at most. */
  readonly sortedRows: number;
  /** Pages that any inner statement touched, at most, and all of them together. */
  readonly buffers: number;
  readonly totalBuffers: number;
  readonly indexes: readonly string[];
  readonly jit: boolean;
  readonly milliseconds: number;
}

/** A session whose every inner statement explains itself (auto_explain; a superuser's, as it must be loaded). */
export class PlanWatcher {
  private plans: LoggedPlan[] = [];

  private constructor(private readonly client: pg.Client) {}

  static async open(url: string): Promise<PlanWatcher> {
    const types = new pg.TypeOverrides();
    types.setTypeParser(pg.types.builtins.INT8, Number);
    const client = new pg.Client({ connectionString: url, types });
    const watcher = new PlanWatcher(client);
    client.on('notice', ({ message }) => {
      const start = message?.indexOf('plan:\n') ?? -1;
      if (message !== undefined && start >= 0) watcher.plans.push(JSON.parse(message.slice(start + 6)) as LoggedPlan);
    });
    await client.connect();
    await client.query(`load 'auto_explain'`);
    for (const [name, value] of Object.entries({
      log_nested_statements: 'on',
      log_analyze: 'on',
      log_buffers: 'on',
      log_timing: 'off',
      log_format: 'json',
      log_level: 'notice',
    })) {
      await client.query(`set auto_explain.${name} = ${value}`);
    }
    return watcher;
  }

  readonly run: Run = async (text, values = []) => (await this.client.query(text, [...values])).rows;

  /** Runs one call (after `warmUps` that fill caches), and undoes it. Only its inner statements count. */
  async cost(text: string, values: readonly unknown[] = [], warmUps = 1): Promise<Cost> {
    for (let warmUp = 0; warmUp < warmUps; warmUp += 1) await this.undone(text, values);
    await this.client.query('set auto_explain.log_min_duration = 0');
    this.plans = [];
    const milliseconds = await this.undone(text, values);
    await this.client.query('set auto_explain.log_min_duration = -1');
    // The call itself comes after all that ran inside it.
    const inner = this.plans.filter(
      (plan) => plan['Query Text'] !== text && !/^(rollback|begin)/.test(plan['Query Text']),
    );
    const nodes = inner.flatMap(({ Plan }) => flatten(Plan));
    const buffers = inner.map(({ Plan }) => buffersOf(Plan));
    return {
      badScans: nodes.filter(isBadScan).map((node) => `${node['Node Type']} on ${node['Relation Name']}`),
      rows: Math.max(0, ...nodes.map(rowsOf)),
      sortedRows: Math.max(0, ...nodes.filter((node) => node['Node Type'].includes('Sort')).map(rowsOf)),
      buffers: Math.max(0, ...buffers),
      // Statements of nested functions are counted with their caller's too: an upper bound.
      totalBuffers: buffers.reduce((sum, count) => sum + count, 0),
      indexes: [...new Set(nodes.flatMap((node) => node['Index Name'] ?? []))].toSorted(),
      jit: inner.some(({ JIT }) => JIT !== undefined),
      milliseconds,
    };
  }

  async close(): Promise<void> {
    await this.client.end();
  }

  private async undone(text: string, values: readonly unknown[]): Promise<number> {
    await this.client.query('begin');
    try {
      const start = performance.now();
      await this.client.query(text, [...values]);
      return performance.now() - start;
    } finally {
      await this.client.query('rollback');
    }
  }
}

function flatten(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)];
}

function buffersOf(node: PlanNode): number {
  return (node['Shared Hit Blocks'] ?? 0) + (node['Shared Read Blocks'] ?? 0);
}

function rowsOf(node: PlanNode): number {
  const removed = (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0);
  return ((node['Actual Rows'] ?? 0) + removed) * (node['Actual Loops'] ?? 1);
}

function isBadScan(node: PlanNode): boolean {
  return node['Relation Name'] !== undefined && /^(Seq Scan|Bitmap Heap Scan|Sample Scan)$/.test(node['Node Type']);
}
