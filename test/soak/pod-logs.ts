/** What a pod's log says, without what differs from line to line. */
export interface LogMessage {
  readonly level: 'warn' | 'error' | 'other';
  readonly text: string;
  count: number;
  /** It may come of the faults; others are failures of the service. */
  readonly isExpected: boolean;
}

/** Of pino. */
const WARN = 40;
const ERROR = 50;
/** The banner, which is for people. */
const BANNER = /serves queues on|^\s*$|^ {2}|^Towpath /;

interface Line {
  readonly level?: number;
  readonly msg?: string;
  readonly err?: { readonly code?: string; readonly message?: string };
}

/** The distinct messages of warnings and worse in the logs of pods, most of all first. */
export function distinctMessages(logs: readonly string[]): LogMessage[] {
  const messages = new Map<string, LogMessage>();
  for (const line of logs.flatMap((log) => log.split('\n'))) {
    const message = read(line);
    if (message === null) continue;
    const key = `${message.level} ${message.text}`;
    const known = messages.get(key);
    if (known === undefined) messages.set(key, message);
    else known.count += 1;
  }
  return [...messages.values()].toSorted((a, b) => b.count - a.count);
}

function read(line: string): LogMessage | null {
  const entry = parse(line);
  // What is no entry of the log comes from Node: an error that nobody has caught.
  if (entry === null) return BANNER.test(line) ? null : { level: 'other', text: line, count: 1, isExpected: false };
  const { level = 0, msg = '', err } = entry;
  if (level < WARN) return null;
  const cause = err === undefined ? '' : `: ${[err.code, err.message].filter((part) => part !== undefined).join(' ')}`;
  const text = `${msg}${cause}`.replaceAll(/\b[0-9a-f-]{36}\b|\d+/g, 'N').slice(0, 300);
  return { level: level >= ERROR ? 'error' : 'warn', text, count: 1, isExpected: level < ERROR };
}

function parse(line: string): Line | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as Line;
  } catch {
    return null;
  }
}
