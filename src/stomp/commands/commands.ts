import type { ClientCommand } from '../permissions.js';
import { abort } from './abort.js';
import { ack } from './ack.js';
import { begin } from './begin.js';
import type { Command } from './command.js';
import { commit } from './commit.js';
import { connect } from './connect.js';
import { disconnect } from './disconnect.js';
import { nack } from './nack.js';
import { send } from './send.js';
import { subscribe } from './subscribe.js';
import { unsubscribe } from './unsubscribe.js';

const COMMANDS: Partial<Readonly<Record<string, Command>>> = {
  CONNECT: connect,
  STOMP: connect,
  SEND: send,
  SUBSCRIBE: subscribe,
  UNSUBSCRIBE: unsubscribe,
  ACK: ack,
  NACK: nack,
  BEGIN: begin,
  COMMIT: commit,
  ABORT: abort,
  DISCONNECT: disconnect,
} satisfies Record<ClientCommand, Command>;

/** Null: STOMP has no such command for clients. */
export function commandNamed(name: string): Command | null {
  return Object.hasOwn(COMMANDS, name) ? (COMMANDS[name] ?? null) : null;
}
