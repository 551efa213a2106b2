import { pino, type DestinationStream, type Logger, type LoggerOptions } from 'pino';
import { errorDetails } from './error-details.js';

/**
 * The log of this pod: one JSON object per line on standard output. Bodies of messages are never given to it;
 * credentials that slip into an object of headers are left out.
 */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: (error: unknown) => errorDetails(error) },
    redact: {
      paths: ['*.authorization', 'headers.authorization', 'req.headers.authorization', '*.apiKey', '*.passcode'],
      remove: true,
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
