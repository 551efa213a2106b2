import { pino, type Logger } from 'pino';

/**
 * The log of this pod: one JSON object per line on standard output. Bodies of messages are never given to it;
 * credentials that slip into an object of headers are left out.
 */
export function createLogger(level: string): Logger {
  return pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: {
      paths: ['*.authorization', 'headers.authorization', 'req.headers.authorization', '*.apiKey', '*.passcode'],
      remove: true,
    },
  });
}
