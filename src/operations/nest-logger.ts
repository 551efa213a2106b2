import type { LoggerService } from '@nestjs/common';
import type { Logger } from 'pino';

/** Nest's own messages and those of `new Logger(…)` go where everything goes. Nest's starting up is of no interest to operators. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.write('trace', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.write('fatal', message, rest);
  }

  /** Nest passes the context last; objects may come first (`logger.warn({ err }, 'text')`). */
  private write(level: 'trace' | 'debug' | 'warn' | 'error' | 'fatal', message: unknown, rest: unknown[]): void {
    const texts = rest.filter((entry) => typeof entry === 'string');
    const context = texts.at(-1);
    const details = typeof message === 'object' && message !== null ? message : {};
    const text = typeof message === 'string' ? message : texts[0];
    this.logger[level]({ ...details, ...(context === text ? {} : { context }) }, text);
  }
}
