// What bench/security.mjs compares with: a pod that asks nobody who they are or what they may, and seals nothing. Never to be used
// for anything else. BENCH_CALLER is who everybody is.
import 'reflect-metadata';
import { startPod } from '../dist/app.js';
import { readConfiguration } from '../dist/config/environment.js';
import { AuthenticationService } from '../dist/identity/authentication.service.js';
import { createLogger } from '../dist/operations/log.js';
import { Access } from '../dist/policies/access.js';

const caller = JSON.parse(process.env.BENCH_CALLER ?? '{}');
const configuration = readConfiguration({ ...process.env, TOWPATH_SEALING: 'off' });
const pod = await startPod(configuration, process.env.DATABASE_URL, createLogger(configuration.logLevel));
pod.app.get(AuthenticationService).authenticate = async () => caller;
pod.app.get(Access).mayUse = () => true;
process.once('SIGTERM', () => void pod.stop().then(() => process.exit(0)));
process.stdout.write(`serves queues on ${pod.url}\n`);
