import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import type { Pod } from '../../src/app.js';
import { encodeFrame } from '../../src/stomp/codec/encode-frame.js';
import { StompFigures } from '../../src/stomp/stomp-figures.js';
import { StompGateway } from '../../src/stomp/stomp-gateway.js';
import { until } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Authority, CertificateFolder } from '../tls/authority.js';

const V1 = Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 54321 61613\r\n');
const V2 = Buffer.from('0d0a0d0a000d0a515549540a 2111000c cb007107 0a000001 d431f0ad'.replaceAll(' ', ''), 'hex');
const LOCAL = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');

const isConnected = (socket: Duplex): Promise<boolean> =>
  new Promise((resolve) => {
    socket.once('data', (data: Buffer) => resolve(data.toString().startsWith('CONNECTED')));
    socket.once('close', () => resolve(false));
  });

describe.each(['tcp', 'tls'] as const)(
  'behind a load balancer that tells whose a connection is, STOMP over %s',
  (kind) => {
    const sockets: Socket[] = [];
    let authority: Authority;
    let files: CertificateFolder;
    let pods: TestPods;
    let pod: Pod;
    let login: Buffer;

    beforeAll(async () => {
      authority = new Authority();
      files = new CertificateFolder(authority.issue('server'));
      pods = await startTestPods(1, {
        ...(kind === 'tls' ? files.environment : {}),
        TOWPATH_STOMP_PROXY_PROTOCOL: '1',
        TOWPATH_STOMP_LOGIN_SECONDS: '2',
      });
      [pod] = pods.pods as [Pod];
      const { stompLogin, stompPasscode } = pods.credentials;
      const headers = { 'accept-version': '1.2', host: '/', login: stompLogin, passcode: stompPasscode };
      login = encodeFrame('1.2', 'CONNECT', Object.entries(headers));
    });
    afterEach(async () => {
      for (const socket of sockets.splice(0)) socket.destroy();
      await until(() => pod.app.get(StompGateway).open.size === 0, 'all sessions have ended');
    });
    afterAll(async () => {
      await pods.stop();
      files.remove();
      authority.remove();
    });

    const opened = async (): Promise<Socket> => {
      const socket = connect({ port: pod.stompPort, host: '127.0.0.1', noDelay: true });
      socket.on('error', () => undefined);
      sockets.push(socket);
      await new Promise((resolve) => socket.once('connect', resolve));
      return socket;
    };
    /** What the client speaks STOMP on. */
    const secured = (socket: Duplex): Duplex => {
      if (kind === 'tcp') return socket;
      const tls = connectTls({ socket, ca: authority.certificate, servername: 'localhost' });
      tls.on('error', () => undefined);
      return tls;
    };
    const addresses = (): string[] =>
      [...pod.app.get(StompGateway).open].map(({ connection }) => `${connection.kind} ${connection.peerAddress}`);

    it.each([
      ['version 1', V1, '203.0.113.7'],
      ['version 2', V2, '203.0.113.7'],
      ['one of the load balancer itself', LOCAL, '127.0.0.1'],
    ])('takes the address from a header of %s', async (_, header, address) => {
      const socket = await opened();
      socket.write(header);
      const client = secured(socket);
      const connected = isConnected(client);
      client.write(login);
      expect(await connected).toBe(true);
      expect(addresses()).toEqual([`${kind} ${address}`]);
    });

    it.each([
      ['version 1', V1],
      ['version 2', V2],
    ])('takes a header of %s byte by byte', async (_, header) => {
      const socket = await opened();
      for (const byte of header) {
        socket.write(Buffer.of(byte));
        await sleep(1);
      }
      const client = secured(socket);
      const connected = isConnected(client);
      client.write(login);
      expect(await connected).toBe(true);
      expect(addresses()).toEqual([`${kind} 203.0.113.7`]);
    });

    it('takes what comes together with the header', async () => {
      const socket = await opened();
      let isFirst = true;
      // With the frame, or the first message of TLS, in the same packet.
      const together = new Duplex({
        read: () => undefined,
        write: (chunk: Buffer, _, written) => {
          socket.write(isFirst ? Buffer.concat([V2, chunk]) : chunk, () => written());
          isFirst = false;
        },
      });
      socket.on('data', (data: Buffer) => together.push(data));
      const client = secured(together);
      const connected = isConnected(client);
      client.write(login);
      expect(await connected).toBe(true);
      expect(addresses()).toEqual([`${kind} 203.0.113.7`]);
    });

    it('cuts off whoever sends none, or none in time, and counts them', async () => {
      const figures = pod.app.get(StompFigures);
      const before = figures.unproxied;
      const [without, half, silent, healthy] = await Promise.all([opened(), opened(), opened(), opened()]);
      const closed = [without, half, silent].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
      const client = secured(without);
      const connected = isConnected(client);
      client.write(login);
      half.write(V2.subarray(0, 20));
      // As a health check does: it is no mistake.
      healthy.end();
      expect(await connected).toBe(false);
      for (const socket of [half, silent]) socket.resume();
      await Promise.all(closed);
      await until(() => figures.unproxied === before + 3, 'three were counted');
      expect(addresses()).toEqual([]);
    });
  },
);
