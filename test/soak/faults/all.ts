import { backendKill } from './backend-kill.js';
import { backendsTerminate } from './backends-terminate.js';
import { clientsCut } from './clients-cut.js';
import { clientsStall } from './clients-stall.js';
import { databaseCut } from './database-cut.js';
import { databaseStall } from './database-stall.js';
import { diskFull } from './disk-full.js';
import type { Fault } from './fault.js';
import { listenHalfOpen } from './listen-half-open.js';
import { podKill } from './pod-kill.js';
import { podStop } from './pod-stop.js';
import { podTerminate } from './pod-terminate.js';
import { postgresKill } from './postgres-kill.js';
import { postgresRestart } from './postgres-restart.js';
import { snapshot } from './snapshot.js';
import { walFull } from './wal-full.js';

export const FAULTS: readonly Fault[] = [
  podKill,
  podTerminate,
  podStop,
  clientsCut,
  clientsStall,
  databaseCut,
  databaseStall,
  listenHalfOpen,
  backendsTerminate,
  backendKill,
  postgresRestart,
  postgresKill,
  diskFull,
  walFull,
  snapshot,
];
