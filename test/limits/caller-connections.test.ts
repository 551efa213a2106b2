import { EventEmitter } from 'node:events';
import { ServiceError } from '../../src/errors/service-error.js';
import { CallerConnections } from '../../src/limits/caller-connections.js';
import type { LivePods } from '../../src/limits/live-pods.js';
import { Refusals } from '../../src/limits/refusals.js';
import { limitedTo } from './support.js';

class Socket extends EventEmitter {
  destroyed = false;

  close(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function setup(environment: Record<string, string>): {
  readonly connections: CallerConnections;
  readonly pods: { count: number };
  readonly refusals: Refusals;
  /** Null where it is let in. */
  readonly admit: (socket: Socket, userId: string, tenancyId?: string) => ServiceError | null;
} {
  const pods = { count: 1 };
  const refusals = new Refusals();
  const connections = new CallerConnections(limitedTo(environment), pods as LivePods, refusals);
  const admit = (socket: Socket, userId: string, tenancyId = 'tenancy'): ServiceError | null => {
    try {
      connections.admit(socket, { tenancyId, userId });
      return null;
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      return error;
    }
  };
  return { connections, pods, refusals, admit };
}

describe('the limits of connections', () => {
  it('are none where none is configured, and remember nothing', () => {
    const { connections, admit } = setup({});
    for (let count = 0; count < 1000; count += 1) expect(admit(new Socket(), 'u')).toBeNull();
    expect(connections.size).toBe(0);
  });

  it('count a connection once, until it closes', () => {
    const { connections, refusals, admit } = setup({ TOWPATH_MAX_TENANCY_CONNECTIONS: '2' });
    const [first, second, third] = [new Socket(), new Socket(), new Socket()];
    for (let request = 0; request < 3; request += 1) expect(admit(first, 'a')).toBeNull();
    expect(admit(second, 'b')).toBeNull();
    expect(admit(third, 'a')).toMatchObject({
      code: 'TooManyRequests',
      retryAfterSeconds: 1,
      message: 'the tenancy may have 2 connections, and has 2 here: use those that are open, or close some',
    });
    expect(admit(third, 'c', 'another tenancy')).toBeNull();
    expect([...refusals.all()].filter(({ count }) => count > 0)).toEqual([
      { limit: 'connections', scope: 'tenancy', count: 1 },
    ]);
    first.close();
    expect(admit(new Socket(), 'a')).toBeNull();
    for (const socket of [second, third]) socket.close();
    expect(connections.size).toBe(2);
  });

  it('count each user for itself, beside the tenancy', () => {
    const { admit } = setup({ TOWPATH_MAX_TENANCY_CONNECTIONS: '10', TOWPATH_MAX_USER_CONNECTIONS: '1' });
    expect(admit(new Socket(), 'a')).toBeNull();
    expect(admit(new Socket(), 'b')).toBeNull();
    expect(admit(new Socket(), 'a')?.message).toMatch(/^the user may have 1 connections, and has 1 here/);
  });

  it('count a connection that callers share for the last of them', () => {
    const { connections, admit } = setup({ TOWPATH_MAX_USER_CONNECTIONS: '1' });
    const shared = new Socket();
    for (const user of ['a', 'b', 'a', 'c']) expect(admit(shared, user)).toBeNull();
    for (const user of ['a', 'b']) expect(admit(new Socket(), user)).toBeNull();
    expect(admit(new Socket(), 'c')).not.toBeNull();
    shared.close();
    expect(admit(new Socket(), 'c')).toBeNull();
    expect(connections.size).toBe(4);
  });

  it('are shared out among the pods, one to each in any case, and take nothing from whom they have let in', () => {
    const { pods, admit } = setup({ TOWPATH_MAX_TENANCY_CONNECTIONS: '5' });
    const open = [new Socket(), new Socket(), new Socket()];
    for (const socket of open) expect(admit(socket, 'a')).toBeNull();
    pods.count = 2;
    for (const socket of open) expect(admit(socket, 'a')).toBeNull();
    expect(admit(new Socket(), 'a')?.message).toMatch(
      /^the tenancy may have 5 connections, 2 to each of 2 pods, and has 3/,
    );
    pods.count = 10;
    for (const socket of open) socket.close();
    expect(admit(new Socket(), 'a')).toBeNull();
    expect(admit(new Socket(), 'a')).not.toBeNull();
  });
});
