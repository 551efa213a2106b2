/** What the tests use of stompit, which has no types of its own. */
declare module 'stompit' {
  import type { Readable, Transform, Writable } from 'node:stream';
  import type { Socket } from 'node:net';

  interface Headers {
    readonly [name: string]: string | number | undefined;
  }

  interface IncomingFrame extends Readable {
    readonly command: string;
    readonly headers: Headers;
    readString(encoding: string, onEnd: (error: Error | null, text: string) => void): void;
  }

  interface Message extends IncomingFrame {
    ack(): void;
    nack(): void;
  }

  interface Subscription {
    unsubscribe(): void;
  }

  interface Client {
    send(headers: Headers, options?: { onReceipt?: () => void; onError?: (error: Error) => void }): Writable;
    subscribe(headers: Headers, onMessage: (error: Error | null, message: Message) => void): Subscription;
    ack(message: Message, headers?: Headers, options?: { onReceipt?: () => void }): void;
    nack(message: Message, headers?: Headers, options?: { onReceipt?: () => void }): void;
    begin(headers?: Headers): {
      readonly id: string;
      send(headers: Headers): Writable;
      commit(options?: { onReceipt?: () => void }): void;
      abort(options?: { onReceipt?: () => void }): void;
    };
    disconnect(onDisconnect: (error: Error | null) => void): void;
    destroy(error?: Error): void;
    setMaxListeners(most: number): this;
    on(event: 'error', listener: (error: Error) => void): this;
  }

  interface ConnectOptions {
    readonly host: string;
    readonly port: number;
    readonly connect?: (options: ConnectOptions, onConnected: () => void) => Socket;
    readonly connectHeaders?: Headers;
  }

  class IncomingFrameStream extends Transform {
    constructor(options?: { maxLineLength?: number; maxHeaders?: number });
    setVersion(version: string): boolean;
  }

  class OutgoingFrameStream {
    constructor(destination: Writable);
    setVersion(version: string): boolean;
    frame(command: string, headers: Headers): Writable;
  }

  interface Stompit {
    connect(options: ConnectOptions, onConnected: (error: Error | null, client: Client) => void): void;
    readonly IncomingFrameStream: typeof IncomingFrameStream;
    readonly OutgoingFrameStream: typeof OutgoingFrameStream;
  }

  const stompit: Stompit;
  export default stompit;
  export type { Client, Headers, IncomingFrame, Message, Subscription };
}
