import type { Configuration } from '../../src/config/environment.js';
import type { DueMaintenance, MaintenanceFunctions } from '../../src/database/maintenance-functions.js';
import type { MessageFunctions } from '../../src/database/message-functions.js';
import type { KeyMaintenance } from '../../src/encryption/key-maintenance.js';
import { MaintenanceService } from '../../src/maintenance/maintenance.service.js';
import { InFlightGate } from '../../src/messages/in-flight-gate.js';
import type { WakeUps } from '../../src/messages/waiting/wake-ups.js';
import type { WorkRequestRunner } from '../../src/work-requests/work-request-runner.js';
import { until } from '../support/until.js';

// What wades through all messages that have lived since somebody took a snapshot must not take the more of the database the longer that lasts.

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

it('expired messages are looked for a twentieth of the time at most, everything else at every look, and deleted one batch at a time after a slow look', async () => {
  const looks: boolean[] = [];
  const sweeps: string[] = [];
  const deltas: DueMaintenance = { kind: 'deltas', queueId: 1, consumerGroupId: 0 };
  const expired: DueMaintenance = { kind: 'expired', queueId: 1, consumerGroupId: 0 };
  const functions = {
    takeLease: () => Promise.resolve(true),
    giveLeaseBack: () => Promise.resolve(),
    due: async (_days: number, withExpired: boolean) => {
      looks.push(withExpired);
      if (withExpired) await pause(300);
      return withExpired ? [expired, deltas] : [deltas];
    },
    foldMessageDeltas: () => Promise.resolve(0),
    sweepExpiredMessages: () => {
      sweeps.push('batch');
      return Promise.resolve(500);
    },
    forgetOldRecords: () => Promise.resolve(),
  } as unknown as MaintenanceFunctions;
  const service = new MaintenanceService(
    functions,
    {} as WakeUps,
    { auditRetentionDays: 90 } as Configuration,
    {} as WorkRequestRunner,
    { run: () => Promise.resolve() } as unknown as KeyMaintenance,
  );
  service.start();
  try {
    // 300 ms are followed by 6 seconds without, in which there are looks every half second.
    await until(() => looks.filter((withExpired) => withExpired).length >= 2, 'a second look for expired messages');
  } finally {
    await service.stop();
  }
  const second = looks.indexOf(true, 1);
  expect(looks[0]).toBe(true);
  expect(second).toBeGreaterThanOrEqual(3);
  expect(sweeps.length).toBeLessThanOrEqual(2);
});

it('what is in flight is counted seldom where that takes long, and soon where the limit is near', async () => {
  let counts = 0;
  const functions = {
    countInFlight: async () => {
      counts += 1;
      await pause(200);
      return 0;
    },
  } as unknown as MessageFunctions;
  const gate = new InFlightGate(functions, { maxInFlight: 1000 } as Configuration);
  const range = { queueId: 1, consumerGroupId: 0, deadLetter: false };
  gate.delivered(range, 100);
  expect(counts).toBe(1);
  await pause(1500);
  // A second has passed, but not twenty times what the count took.
  gate.delivered(range, 100);
  expect(counts).toBe(1);
  gate.delivered(range, 400);
  expect(counts).toBe(2);
  expect(gate.isOpen(range)).toBe(true);
  gate.delivered(range, 1000);
  expect(gate.isOpen(range)).toBe(false);
});
