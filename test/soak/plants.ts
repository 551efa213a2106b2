import { PROPERTIES } from '../history/check/properties.js';
import { GROUP_BUGS } from '../history/planted/group-bugs.js';
import type { PlantedBug } from '../history/planted/planted-bug.js';
import { QUEUE_BUGS } from '../history/planted/queue-bugs.js';
import { REDRIVE_BUGS } from '../history/planted/redrive-bugs.js';
import { STOMP_BUGS } from '../history/planted/stomp-bugs.js';
import type { Stage } from './stage.js';

/** A bug that a soak must find, with the faults that bring it to light. */
export interface SoakPlant extends PlantedBug {
  /** Names; none: it shows without. */
  readonly faults: readonly string[];
  /** Breaks the server. */
  readonly configure?: (stage: Stage) => Promise<void>;
}

/** From now on nothing writes the log but commits that wait for it. */
async function writeLogRarely(stage: Stage): Promise<void> {
  await stage.asSuperuser(`alter system set wal_writer_delay = '10s'`);
  await stage.asSuperuser('select pg_reload_conf()');
}

/** Bugs that show in faults only. */
const FAULT_BUGS: readonly SoakPlant[] = [
  {
    name: 'early-answer',
    what: 'puts and deletions that are answered before their commit',
    breaks: [PROPERTIES.lost, PROPERTIES.afterDelete],
    inPods: 'early answer',
    faults: ['pod-kill', 'backends-terminate'],
  },
  {
    name: 'relaxed-commits',
    what: 'commits that are confirmed before they are on disk',
    breaks: [PROPERTIES.lost, PROPERTIES.afterDelete],
    faults: ['postgres-kill'],
    configure: async (stage) => {
      await stage.asSuperuser('alter system set synchronous_commit = off');
      await writeLogRarely(stage);
    },
  },
  {
    name: 'relaxed-deletions',
    what: 'deletions that are confirmed before they are on disk',
    breaks: [PROPERTIES.afterDelete],
    faults: ['postgres-kill'],
    plant: ({ sql }) =>
      sql(`
        create function towpath.relax_deletion() returns trigger language plpgsql as $$
          begin perform set_config('synchronous_commit', 'off', true); return null; end $$;
        create trigger relax_deletion after delete on towpath.message
          for each statement execute function towpath.relax_deletion();`),
    configure: writeLogRarely,
  },
  {
    name: 'unlogged-messages',
    what: 'messages in a table that a crash empties',
    breaks: [PROPERTIES.lost],
    faults: ['backend-kill'],
    plant: ({ sql }) => sql('alter table towpath.message set unlogged'),
  },
  {
    name: 'end-of-a-pod',
    what: 'a pod whose end hands out to others what all pods’ clients hold',
    breaks: [PROPERTIES.holder],
    faults: ['pod-terminate'],
    plant: ({ sql }) =>
      sql(`
        create function towpath.hand_out() returns trigger language plpgsql as $$
          begin
            update towpath.message set visible_after = now() where visible_after > now() and delivery_count > 0;
            return null;
          end $$;
        create trigger hand_out after delete on towpath.pod for each row execute function towpath.hand_out();`),
  },
];

const withoutFaults = (bugs: readonly PlantedBug[]): SoakPlant[] => bugs.map((bug) => ({ ...bug, faults: [] }));

export const PLANTS: readonly SoakPlant[] = [
  ...withoutFaults(QUEUE_BUGS),
  ...withoutFaults(GROUP_BUGS),
  ...withoutFaults(REDRIVE_BUGS),
  // What was answered and never done, or half done, shows when a pod is killed.
  ...STOMP_BUGS.map((bug) => ({ ...bug, faults: bug.inPods === undefined ? [] : ['pod-kill'] })),
  ...FAULT_BUGS,
];
