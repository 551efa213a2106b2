/** What a pod's log says, without what differs from line to line. */
export interface LogMessage {
  readonly level: (typeof LEVELS)[number] | 'other';
  readonly text: string;
  count: number;
  /** It may come of the faults; others are failures of the service. */
  readonly isExpected: boolean;
}

/** Those that are listed; the others are of no interest here. */
const LEVELS = ['warn', 'error', 'fatal'] as const;
/** The banner, which is for people. */
const BANNER = /serves queues on|^\s*$|^ {2}|^Towpath /;
/** What Node warns of is no failure either. */
const WARNING = /^\(node:\d+\) |^\(Use `node --trace-/;

interface Line {
  readonly level?: string;
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
  if (entry === null) {
    if (BANNER.test(line)) return null;
    // What is no entry of the log comes from Node: an error that nobody has caught, mostly.
    const isExpected = WARNING.test(line);
    return { level: isExpected ? 'warn' : 'other', text: plain(line), count: 1, isExpected };
  }
  const { msg = '', err } = entry;
  const level = LEVELS.find((each) => each === entry.level);
  if (level === undefined) return null;
  const cause = err === undefined ? '' : `: ${[err.code, err.message].filter((part) => part !== undefined).join(' ')}`;
  return { level, text: plain(`${msg}${cause}`), count: 1, isExpected: level === 'warn' };
}

/** Without what differs from time to time. */
function plain(text: string): string {
  return text.replaceAll(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+/g, 'N').slice(0, 300);
}

function parse(line: string): Line | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as Line;
  } catch {
    return null;
  }
}
