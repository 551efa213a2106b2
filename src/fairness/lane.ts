import { AsyncLocalStorage } from 'node:async_hooks';

/** For whom something is done: a user, or null while that is not known, and for what the pod does by itself. */
export interface Lane {
  userId: string | null;
}

const lanes = new AsyncLocalStorage<Lane>();

/** Runs `act`, and whatever it starts, in a lane of its own. */
export function inLane<Result>(act: () => Result): Result {
  return lanes.run({ userId: null }, act);
}

/** From now on what is done in this lane is done for this user. */
export function setLane(userId: string): void {
  const lane = lanes.getStore();
  if (lane !== undefined) lane.userId = userId;
}

/** The lane itself, for `within`; undefined: none. To keep it costs nothing, and to keep the whole asynchronous context much. */
export function thisLane(): Lane | undefined {
  return lanes.getStore();
}

/** Runs `act`, and whatever it starts, in the lane of somebody who waited for it. */
export function within<Result>(lane: Lane | undefined, act: () => Result): Result {
  return lane === undefined ? lanes.exit(act) : lanes.run(lane, act);
}

export function currentLane(): string | null {
  return lanes.getStore()?.userId ?? null;
}
