import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { promisify } from 'node:util';
import { connect as connectTls } from 'node:tls';
import { readText, ROOT } from '../docs/documents.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { sendBytes } from '../rest/support.js';
import { Authority, CertificateFolder } from './authority.js';
import { TlsClient, type TlsClientOptions } from './client.js';

describe('a pod with a certificate', () => {
  let authority: Authority;
  let files: CertificateFolder;
  let pods: TestPods;
  let url: string;
  const clients: TlsClient[] = [];

  beforeAll(async () => {
    authority = new Authority();
    files = new CertificateFolder(authority.issue('server'));
    pods = await startTestPods(1, files.environment);
    ({ url } = pods.pods[0]!);
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await pods.stop();
    files.remove();
    authority.remove();
  });

  const client = (options: TlsClientOptions = {}): TlsClient => {
    const made = new TlsClient(url, { ca: authority.certificate, ...options });
    clients.push(made);
    return made;
  };

  it('is reached by https, and says so', async () => {
    expect(url).toMatch(/^https:/);
    const answer = await client().get('/livez');
    expect(answer).toMatchObject({ status: 200, protocol: 'TLSv1.3' });
    expect(answer.headers['strict-transport-security']).toMatch(/^max-age=\d{8}/);
    const authorization = `Bearer ${pods.credentials.apiKey}`;
    const { compartmentId } = pods.credentials;
    const body = JSON.stringify({ displayName: 'a', compartmentId });
    const json = { authorization, 'content-type': 'application/json' };
    const created = await client().call('POST', '/20210201/queues', json, body);
    expect(created.status).toBe(202);
    const listed = await client().get(`/20210201/queues?compartmentId=${compartmentId}`, { authorization });
    const [queue] = (JSON.parse(listed.text) as { items: { messagesEndpoint: string }[] }).items;
    expect(queue?.messagesEndpoint).toBe(url);
  });

  it('is not trusted by who does not know its authority', async () => {
    await expect(client({ ca: [] }).get('/livez')).rejects.toMatchObject({
      code: expect.stringMatching(/UNABLE_TO_VERIFY|SELF_SIGNED/),
    });
  });

  it('speaks TLS 1.2 and nothing older', async () => {
    expect(await client({ maxVersion: 'TLSv1.2' }).get('/livez')).toMatchObject({ status: 200, protocol: 'TLSv1.2' });
    // Without the lower security level the client itself would not speak it.
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    await expect(client(old).get('/livez')).rejects.toThrow(/alert protocol version/);
  });

  it('tells nothing to who does not speak TLS, and goes on', async () => {
    const http = url.replace('https', 'http');
    expect(await sendBytes(http, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n').catch(() => '')).not.toContain(
      'HTTP/1.1 200',
    );
    await sendBytes(http, Buffer.from('160301ffff', 'hex'), Buffer.alloc(1000, 255)).catch(() => '');
    const metrics = (await client().get('/metrics')).text;
    expect(Number(/^towpath_tls_handshakes_failed_total (\d+)/m.exec(metrics)?.[1])).toBeGreaterThan(1);
    expect(metrics).toMatch(/^towpath_tls_certificate_stale 0/m);
    const expires = Number(/^towpath_tls_certificate_expires_timestamp_seconds (\S+)/m.exec(metrics)?.[1]) * 1000;
    expect(expires).toBeGreaterThan(Date.now() + 19 * 86_400_000);
    expect(expires).toBeLessThan(Date.now() + 21 * 86_400_000);
  });

  it('answers broken HTTP inside of TLS as it does outside', async () => {
    const text = await new Promise<string>((resolve, reject) => {
      const { hostname: host, port } = new URL(url);
      let received = '';
      const socket = connectTls({ host, port: Number(port), ca: authority.certificate }, () => {
        socket.write('hello\r\n\r\n');
      });
      socket.on('data', (data) => (received += data.toString()));
      socket.on('error', reject).on('close', () => resolve(received));
    });
    expect(text).toMatch(/^HTTP\/1.1 400 [\s\S]*x-content-type-options: nosniff[\s\S]*CannotParseRequest/);
  });

  it('works with the OCI SDK, told of the authority as its users do', async () => {
    const program = `
      import common from 'oci-common';
      import queue from 'oci-queue';
      const provider = new common.ConfigFileAuthenticationDetailsProvider(process.env.OCI_CONFIG);
      const admin = new queue.QueueAdminClient({ authenticationDetailsProvider: provider });
      const data = new queue.QueueClient({ authenticationDetailsProvider: provider });
      admin.endpoint = process.env.ENDPOINT;
      const { opcWorkRequestId } = await admin.createQueue({
        createQueueDetails: { displayName: 'sdk', compartmentId: process.env.COMPARTMENT },
      });
      const { workRequest } = await admin.getWorkRequest({ workRequestId: opcWorkRequestId });
      const queueId = workRequest.resources[0].identifier;
      // As the contract has it: the data plane is where the queue says.
      data.endpoint = (await admin.getQueue({ queueId })).queue.messagesEndpoint;
      await data.putMessages({ queueId, putMessagesDetails: { messages: [{ content: 'sealed on the way' }] } });
      const answer = await data.getMessages({ queueId, timeoutInSeconds: 5 });
      for (const message of answer.getMessages.messages) {
        console.log(data.endpoint.split(':')[0], message.content);
        await data.deleteMessage({ queueId, messageReceipt: message.receipt });
      }
      admin.close();
      data.close();`;
    const run = (extra: Record<string, string>): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
        cwd: ROOT,
        env: {
          PATH: process.env['PATH'],
          OCI_CONFIG: `${pods.dataDirectory}/oci/config`,
          ENDPOINT: url,
          COMPARTMENT: pods.credentials.compartmentId,
          ...extra,
        },
      });
    expect((await run({ NODE_EXTRA_CA_CERTS: authority.file })).stdout).toContain('https sealed on the way');
  });

  it('stops at once although clients hold connections, and one its handshake', async () => {
    const pod = await pods.add();
    const { hostname: host, port } = new URL(pod.url);
    const kept = new TlsClient(pod.url, { ca: authority.certificate });
    await kept.get('/livez');
    const silent = connect(Number(port), host).on('error', () => undefined);
    const unused = connectTls({ host, port: Number(port), ca: authority.certificate }).on('error', () => undefined);
    await new Promise((resolve) => unused.once('secureConnect', resolve));
    const since = performance.now();
    await pod.stop();
    (pods.pods as unknown as unknown[]).pop();
    expect(performance.now() - since).toBeLessThan(5000);
    kept.close();
    silent.destroy();
    unused.destroy();
  });
});

describe('certificates of clients', () => {
  let authority: Authority;
  let stranger: Authority;
  let files: CertificateFolder;
  let pods: TestPods;

  beforeAll(async () => {
    authority = new Authority();
    stranger = new Authority('Somebody else');
    files = new CertificateFolder(authority.issue('server'));
    pods = await startTestPods(1, { ...files.environment, TOWPATH_TLS_CLIENT_CA_FILE: authority.file });
    await pods.add({ TOWPATH_TLS_CLIENT_CERTIFICATES: 'optional' });
  });
  afterAll(async () => {
    await pods.stop();
    files.remove();
    authority.remove();
    stranger.remove();
  });

  const call = async (
    pod: number,
    issued?: { certificate: string; key: string },
  ): Promise<{ status: number; text: string }> => {
    const client = new TlsClient(pods.pods[pod]!.url, {
      ca: authority.certificate,
      ...(issued === undefined ? {} : { cert: issued.certificate, key: issued.key }),
    });
    try {
      return await client.get('/20210201/queues', { authorization: `Bearer ${pods.credentials.apiKey}` });
    } finally {
      client.close();
    }
  };

  it('are required where an authority is named', async () => {
    expect(await call(0, authority.issue('client'))).toMatchObject({ status: 200 });
    await expect(call(0)).rejects.toMatchObject({ code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' });
    await expect(call(0, stranger.issue('client'))).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_SSL_|ECONNRESET/),
    });
  });

  it('may be missing where they are optional, but not be wrong', async () => {
    expect(await call(1, authority.issue('client'))).toMatchObject({ status: 200 });
    expect(await call(1)).toMatchObject({ status: 200 });
    const refused = await call(1, stranger.issue('client'));
    expect(refused).toMatchObject({ status: 401 });
    expect(refused.text).toMatch(/NotAuthenticated.*client certificate/);
  });

  it("leave the image's health check as it is", async () => {
    const [, command = ''] = /^HEALTHCHECK[\s\S]*?CMD (\[.*\])$/m.exec(readText('Dockerfile')) ?? [];
    const [, ...options] = JSON.parse(command) as string[];
    const check = (port: number, environment: Record<string, string>): Promise<number> =>
      promisify(execFile)(process.execPath, options, { env: { TOWPATH_PORT: String(port), ...environment } }).then(
        () => 0,
        ({ code }: { code: number }) => code,
      );
    for (const { port } of pods.pods) {
      expect(await check(port, files.environment)).toBe(0);
      expect(await check(port, { TOWPATH_TLS_SELF_SIGNED: '1' })).toBe(0);
      expect(await check(port, {})).toBe(1);
    }
    expect(await check(1, files.environment)).toBe(1);
  });

  it('do not stand for credentials', async () => {
    const issued = authority.issue('client');
    const proven = new TlsClient(pods.pods[0]!.url, {
      ca: authority.certificate,
      cert: issued.certificate,
      key: issued.key,
    });
    expect(await proven.get('/20210201/queues')).toMatchObject({ status: 401 });
    proven.close();
  });
});
