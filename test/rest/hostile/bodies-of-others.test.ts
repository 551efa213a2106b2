import { describeBodies } from './bodies.js';

describeBodies('others');
