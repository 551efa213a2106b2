import stompit, { type Client, type Headers, type Message } from 'stompit';

export interface StompitTarget {
  readonly host: string;
  readonly port: number;
  readonly login: string;
  readonly passcode: string;
}

export function stompitOverTcp({ host, port, login, passcode }: StompitTarget): Promise<Client> {
  const { promise, resolve, reject } = Promise.withResolvers<Client>();
  const connectHeaders = { host, login, passcode, 'heart-beat': '0,0' };
  stompit.connect({ host, port, connectHeaders }, (error, client) => {
    // It listens once more for each receipt that is under way.
    if (error === null) resolve(client.setMaxListeners(0));
    else reject(error);
  });
  return promise;
}

/** Answers when the receipt has come. */
export function sendWithReceipt(client: Client, headers: Headers, body: string | Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.send(headers, { onReceipt: resolve, onError: reject }).end(body);
  return promise;
}

export async function bodyOf(message: Message): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

export function disconnect(client: Client): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.disconnect((error) => {
    if (error === null) resolve();
    else reject(error);
  });
  return promise;
}
