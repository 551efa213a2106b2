import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { until } from '../support/until.js';
import { Relay } from './relay.js';

/** What an end has heard, and whether it is over. */
interface End {
  readonly socket: Socket;
  heard: string;
  isOver: boolean;
}

function endOf(socket: Socket): End {
  const end: End = { socket, heard: '', isOver: false };
  socket.on('data', (chunk: Buffer) => {
    end.heard += chunk.toString();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    end.isOver = true;
  });
  return end;
}

describe('a relay', () => {
  let server: Server;
  let relay: Relay;
  const accepted: End[] = [];
  const connected: Socket[] = [];

  beforeEach(async () => {
    accepted.length = 0;
    server = createServer((socket) => accepted.push(endOf(socket))).listen(0, '127.0.0.1');
    await once(server, 'listening');
    relay = await Relay.start((server.address() as AddressInfo).port);
  });
  afterEach(async () => {
    relay.close();
    for (const socket of connected.splice(0)) socket.destroy();
    for (const { socket } of accepted) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  /** A connection that has said something, with its other end. */
  async function join(greeting: string): Promise<readonly [near: End, far: End]> {
    const near = endOf(connect(relay.port, '127.0.0.1'));
    connected.push(near.socket);
    near.socket.write(greeting);
    await until(() => accepted.some(({ heard }) => heard === greeting), `${greeting} has come`);
    return [near, accepted.find(({ heard }) => heard === greeting)!];
  }

  it('lets both directions through, and the end of either side', async () => {
    const [near, far] = await join('hello');
    far.socket.write('good day');
    await until(() => near.heard === 'good day', 'the answer has come');
    near.socket.end('bye');
    await until(() => far.heard === 'hellobye', 'the rest has come');
    await until(() => far.isOver && relay.count() === 0, 'the connection is over');
    expect([near.heard, far.heard]).toEqual(['good day', 'hellobye']);
  });

  it('holds up what is said, and lets all of it through later', async () => {
    const [near, far] = await join('hello');
    relay.stall();
    near.socket.write('1');
    far.socket.write('a');
    const [later] = await joinLate('late');
    near.socket.write('2');
    expect([near.heard, far.heard]).toEqual(['', 'hello']);
    relay.resume();
    await until(() => far.heard === 'hello12' && near.heard === 'a', 'all has come');
    await until(() => accepted.some(({ heard }) => heard === 'late'), 'of the later one too');
    expect(later.isOver).toBe(false);
  });

  /** One that the relay has taken, and whose words it keeps. */
  async function joinLate(greeting: string): Promise<readonly [End]> {
    const near = endOf(connect(relay.port, '127.0.0.1'));
    connected.push(near.socket);
    near.socket.write(greeting);
    await until(() => relay.count() === 2, 'it was taken');
    return [near];
  }

  it('cuts those that have said something, and no others', async () => {
    const [one, farOne] = await join('listen');
    const [other, farOther] = await join('work');
    expect(relay.cut((greeting) => greeting === 'listen')).toBe(1);
    await until(() => one.isOver && farOne.isOver, 'it is cut');
    other.socket.write('!');
    await until(() => farOther.heard === 'work!', 'the other one goes on');
  });

  it('makes a connection half-open: what is said is lost, and neither side is told', async () => {
    const [one, farOne] = await join('listen');
    const [other, farOther] = await join('work');
    expect(relay.lose((greeting) => greeting === 'listen')).toBe(1);
    one.socket.write('are you there?');
    farOne.socket.write('news');
    // What goes through beside it shows that there was time.
    other.socket.write('!');
    await until(() => farOther.heard === 'work!', 'the other one goes on');
    farOther.socket.write('?');
    await until(() => other.heard === '?', 'and back');
    expect([one.heard, farOne.heard, one.isOver, farOne.isOver]).toEqual(['', 'listen', false, false]);
    // Whoever gives it up is rid of it.
    one.socket.destroy();
    await until(() => farOne.isOver && relay.count() === 1, 'it is gone');
  });

  it('refuses connections while there is nobody to lead to, and has the same address afterwards', async () => {
    const [near] = await join('hello');
    relay.refuse();
    const refused = connect(relay.port, '127.0.0.1');
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
    expect(near.isOver).toBe(false);
    await relay.leadTo((server.address() as AddressInfo).port);
    await join('again');
  });
});
