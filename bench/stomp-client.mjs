// A thin STOMP 1.2 client for benchmarks, the same for every broker: text frames without escapes, and as little work per frame
// as possible, so that the broker is what is measured. Bodies must have no NUL.
import { connect } from 'node:net';

export class StompClient {
  /** Of frames; whoever uses the client sets them. */
  onReceipt = (_id) => undefined;
  onMessage = (_ack, _body) => undefined;
  onError = (text) => {
    throw new Error(`the broker says ${text}`);
  };
  /** Of CONNECTED. */
  server = '';
  #rest = '';
  #connected;

  constructor(socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text) => this.#read(text));
  }

  /** Writes of one reading go out together. */
  #read(text) {
    this.socket.cork();
    const parts = (this.#rest + text).split('\0');
    this.#rest = parts.pop();
    for (const part of parts) this.#take(part);
    this.socket.uncork();
  }

  #take(part) {
    // Line feeds between frames are heart-beats.
    const start = part.search(/[A-Z]/);
    const command = part.slice(start, part.indexOf('\n', start));
    if (command === 'MESSAGE') this.onMessage(header(part, 'ack'), part);
    else if (command === 'RECEIPT') this.onReceipt(header(part, 'receipt-id'));
    else if (command === 'CONNECTED') this.#connected(header(part, 'server'));
    else this.onError(part);
  }

  write(text) {
    this.socket.write(text, 'latin1');
  }

  /** Resolves with its receipt. Nothing else that `onReceipt` waits for may be under way. */
  ask(frame, headers) {
    return new Promise((resolve) => {
      const before = this.onReceipt;
      this.onReceipt = (id) => {
        this.onReceipt = before;
        resolve(id);
      };
      this.write(`${frame}\n${headers}receipt:${frame}\n\n\0`);
    });
  }

  close() {
    this.socket.destroy();
  }

  static connect({ host, port, login, passcode, vhost = '/', heartBeat = '0,0' }) {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port });
      const client = new StompClient(socket);
      socket.once('error', reject);
      client.#connected = (server) => {
        client.server = server;
        resolve(client);
      };
      client.onError = (text) => reject(new Error(text));
      client.write(
        `CONNECT\naccept-version:1.2\nhost:${vhost}\nlogin:${login}\npasscode:${passcode}\nheart-beat:${heartBeat}\n\n\0`,
      );
    });
  }
}

/** A header of a frame, as it stands there; the empty text where it has none. */
function header(text, name) {
  const start = text.indexOf(`\n${name}:`);
  if (start < 0) return '';
  const from = start + name.length + 2;
  return text.slice(from, text.indexOf('\n', from));
}

/** Keeps `window` SENDs without their RECEIPT under way while it runs. */
export class Producer {
  sent = 0;
  confirmed = 0;
  #running = false;
  #idle = () => undefined;
  #frame;

  constructor(client, { destination, headers = '' }, bytes) {
    this.client = client;
    const rest = `\ndestination:${destination}\ncontent-length:${bytes}\n${headers}\n${'x'.repeat(bytes)}\0`;
    this.#frame = (number) => `SEND\nreceipt:${number}${rest}`;
    client.onReceipt = () => {
      this.confirmed += 1;
      if (this.#running) this.#send();
      else if (this.confirmed === this.sent) this.#idle();
    };
  }

  start(window) {
    this.#running = true;
    this.client.socket.cork();
    for (let index = 0; index < window; index += 1) this.#send();
    this.client.socket.uncork();
  }

  /** Resolves when every SEND has its RECEIPT. */
  stop() {
    this.#running = false;
    if (this.confirmed === this.sent) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  #send() {
    this.sent += 1;
    this.client.write(this.#frame(this.sent));
  }
}

/** Subscribes, and acknowledges each message by itself, as soon as it has come. */
export class Consumer {
  received = 0;

  constructor(client, { destination, headers = '' }) {
    this.client = client;
    this.subscribe = (prefetch) =>
      client.ask(
        'SUBSCRIBE',
        `id:0\ndestination:${destination}\nack:client-individual\nprefetch-count:${prefetch}\n${headers}`,
      );
    client.onMessage = (ack) => {
      this.received += 1;
      client.write(`ACK\nid:${ack}\n\n\0`);
    };
  }

  /** Its receipt comes after every ACK before it. */
  unsubscribe() {
    return this.client.ask('UNSUBSCRIBE', 'id:0\n');
  }
}
