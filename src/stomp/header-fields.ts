import { ServiceError } from '../errors/service-error.js';
import type { Frame } from './codec/frame.js';

/** A header that must be there. Throws MissingParameter. */
export function required(frame: Frame, name: string): string {
  const value = frame.headers.get(name);
  if (value === undefined || value === '') {
    throw new ServiceError('MissingParameter', `${frame.command} needs the header ${name}`);
  }
  return value;
}

/** A header that is a whole number in this range; undefined: it is not there. Throws InvalidParameter. */
export function integerOf(frame: Frame, name: string, minimum: number, maximum: number): number | undefined {
  const text = frame.headers.get(name);
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new ServiceError('InvalidParameter', `${name}: must be an integer from ${minimum} to ${maximum}`);
}

/** A header that is one of these words; undefined: it is not there. Throws InvalidParameter. */
export function wordOf<const Word extends string>(
  frame: Frame,
  name: string,
  words: readonly Word[],
): Word | undefined {
  const text = frame.headers.get(name);
  if (text === undefined) return undefined;
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw new ServiceError('InvalidParameter', `${name}: must be ${words.join(' or ')}`);
}
