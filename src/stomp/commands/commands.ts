import type { ClientCommand } from '../permissions.js';
import { ack } from './ack.js';
import type { Command } from './command.js';
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
  DISCONNECT: disconnect,
} satisfies Partial<Record<ClientCommand, Command>>;

/** Null: STOMP has no such command for clients. */
export function commandNamed(name: string): Command | null {
  return Object.hasOwn(COMMANDS, name) ? (COMMANDS[name] ?? null) : null;
}
