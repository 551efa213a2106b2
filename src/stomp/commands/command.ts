import type { Frame } from '../codec/frame.js';
import type { Session } from '../session.js';

/**
 * Carries a frame out, or starts to. A promise: the next frame is not read before it is fulfilled. What it throws goes to the
 * client as an ERROR and ends the connection. Each answers the frame's receipt itself, when it is due.
 */
export type Command = (session: Session, frame: Frame) => Promise<void> | void;
