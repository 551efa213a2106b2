import { describeBodies } from './bodies.js';

describeBodies('queues');
