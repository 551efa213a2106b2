import { distinctMessages } from './pod-logs.js';

const line = (level: string, msg: string, err?: object): string =>
  JSON.stringify({ level, time: '2026-11-23T05:48:54.851Z', msg, err });

describe('the distinct messages of logs', () => {
  it('are counted without what differs, most of all first, with their errors', () => {
    const log = [
      line('info', 'nothing'),
      line('warn', 'request', { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:5432' }),
      line('error', 'request', { message: 'cannot read x' }),
    ].join('\n');
    const other = line('warn', 'request', { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:6543' });
    expect(distinctMessages([log, other])).toEqual([
      { level: 'warn', text: 'request: ECONNREFUSED connect ECONNREFUSED N.N.N.N:N', count: 2, isExpected: true },
      { level: 'error', text: 'request: cannot read x', count: 1, isExpected: false },
    ]);
  });

  it('have what Node says when nobody has caught an error, but not its warnings as failures, nor the banner', () => {
    const log = [
      'Towpath serves queues on http://127.0.0.1:8080/',
      '  database  postgres://…',
      '(node:4711) DeprecationWarning: something old',
      'TypeError: cannot read properties of undefined',
      '',
    ].join('\n');
    expect(distinctMessages([log])).toEqual([
      { level: 'warn', text: '(node:N) DeprecationWarning: something old', count: 1, isExpected: true },
      { level: 'other', text: 'TypeError: cannot read properties of undefined', count: 1, isExpected: false },
    ]);
  });

  it('have fatal ones, as failures', () => {
    expect(distinctMessages([line('fatal', 'the end')])).toEqual([
      { level: 'fatal', text: 'the end', count: 1, isExpected: false },
    ]);
  });
});
