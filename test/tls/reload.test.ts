import { rmSync, symlinkSync, mkdtempSync, writeFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { X509Certificate } from 'node:crypto';
import type { Pod } from '../../src/app.js';
import { ServerCertificate, SERVER_CERTIFICATE, type TlsLog } from '../../src/tls/server-certificate.js';
import { until, untilParked } from '../pods/support.js';
import { startTestPods, type TestPods } from '../support/pod.js';
import { Authority, CertificateFolder, type Issued } from './authority.js';
import { TlsClient } from './client.js';

const fingerprintOf = ({ certificate }: Issued): string => new X509Certificate(certificate).fingerprint256;
const silent: TlsLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('certificate files that change', () => {
  let authority: Authority;
  let first: Issued;
  let files: CertificateFolder;
  let pods: TestPods;
  let pod: Pod;

  beforeEach(async () => {
    authority = new Authority();
    first = authority.issue('first');
    files = new CertificateFolder(first);
    pods = await startTestPods(1, files.environment);
    [pod] = pods.pods as [Pod];
  });
  afterEach(async () => {
    await pods.stop();
    files.remove();
    authority.remove();
  });

  const client = (): TlsClient => new TlsClient(pod.url, { ca: authority.certificate });
  const shown = async (): Promise<string> => {
    const fresh = client();
    const { fingerprint } = await fresh.get('/livez');
    fresh.close();
    return fingerprint;
  };

  it('are taken for new connections, while a long poll and a kept connection go on', async () => {
    const authorization = `Bearer ${pods.credentials.apiKey}`;
    const json = { authorization, 'content-type': 'application/json' };
    const kept = client();
    const polling = client();
    const { compartmentId } = pods.credentials;
    const body = JSON.stringify({ displayName: 'q', compartmentId });
    expect((await kept.call('POST', '/20210201/queues', json, body)).status).toBe(202);
    const listed = await kept.get('/20210201/queues', { authorization });
    const [queue] = (JSON.parse(listed.text) as { items: { id: string }[] }).items;
    const poll = polling.get(`/20210201/queues/${queue!.id}/messages?timeoutInSeconds=30`, { authorization });
    await untilParked(pod, 1);

    const second = authority.issue('second');
    files.write(second);
    // By itself, without a word to the pod.
    await until(async () => (await shown()) === fingerprintOf(second), 'new connections get the new certificate');

    const message = JSON.stringify({ messages: [{ content: 'across the change' }] });
    const put = await kept.call('POST', `/20210201/queues/${queue!.id}/messages`, json, message);
    expect(put).toMatchObject({ status: 200, fingerprint: fingerprintOf(first) });
    const got = await poll;
    expect(got).toMatchObject({ status: 200, fingerprint: fingerprintOf(first) });
    expect(got.text).toContain('across the change');
    const metrics = (await kept.get('/metrics')).text;
    expect(metrics).toMatch(/^towpath_tls_certificate_reloads_total 1$/m);
    expect(metrics).toMatch(/^towpath_tls_certificate_reload_failures_total 0$/m);
    kept.close();
    polling.close();
  });

  it('that cannot be used leave the old ones in use, and that is told', async () => {
    const certificate = pod.app.get<ServerCertificate>(SERVER_CERTIFICATE);
    // As it does by itself, only more often.
    certificate.stop();
    certificate.start(50);
    const kept = client();
    const stale = async (): Promise<boolean> =>
      (await kept.get('/metrics')).text.includes('\ntowpath_tls_certificate_stale 1\n');
    const broken: [Partial<Issued>, RegExp][] = [
      [{ certificate: 'nonsense' }, /tls\.crt has no certificate in PEM/],
      [
        { certificate: first.certificate.replace(/\n.{64}\n/, `\n${'A'.repeat(64)}\n`) },
        /certificate 1 in .*tls\.crt cannot be read/,
      ],
      [{ certificate: authority.issue('other').certificate }, /the key in .*tls\.key is not that of/],
      [{ certificate: first.certificate, key: 'nonsense' }, /tls\.key has no private key/],
      [{ key: authority.issue('other', { passphrase: 'hush' }).key }, /encrypted with a passphrase/],
      [{ ...authority.issue('old', { days: -1 }) }, /expired at/],
      [{ certificate: '' }, /tls\.crt has no certificate/],
    ];
    for (const [index, [change, problem]] of broken.entries()) {
      files.write(change);
      await until(() => certificate.failures > index, 'it is noticed');
      expect(certificate.problem).toMatch(problem);
      expect(await shown()).toBe(fingerprintOf(first));
      expect(await stale()).toBe(true);
      const ready = await kept.get('/readyz');
      expect(ready.status).toBe(200);
      expect(JSON.parse(ready.text)).toEqual({ status: 'ready', warning: expect.stringMatching(/certificate/) });
      // Open to everybody: no paths.
      expect(ready.text).not.toContain(files.folder);
    }
    rmSync(files.keyFile);
    await until(() => /tls\.key cannot be read/.test(certificate.problem ?? ''), 'a missing file is told');
    expect(await shown()).toBe(fingerprintOf(first));
    // Each of them once, however often it looked.
    expect(certificate.failures).toBe(broken.length + 1);

    const good = authority.issue('good');
    files.write(good);
    await until(async () => (await shown()) === fingerprintOf(good), 'good files are taken');
    expect(JSON.parse((await kept.get('/readyz')).text)).toEqual({ status: 'ready' });
    expect(await stale()).toBe(false);
    kept.close();
  });
});

describe('a server certificate', () => {
  let authority: Authority;
  beforeAll(() => {
    authority = new Authority();
  });
  afterAll(() => authority.remove());

  it('waits until certificate and key fit: they are two files', async () => {
    const files = new CertificateFolder(authority.issue('first'));
    const paths = { certificate: files.certificateFile, key: files.keyFile, clientCa: null };
    const certificate = await ServerCertificate.load(paths, 'required', silent);
    const second = authority.issue('second');
    files.write({ certificate: second.certificate });
    await certificate.look();
    files.write({ key: second.key });
    await certificate.look();
    await certificate.look();
    expect(certificate).toMatchObject({ reloads: 1, failures: 0, problem: null, fingerprint: fingerprintOf(second) });
    files.remove();
  });

  it('sees files behind a link that is swapped, as Kubernetes does it', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'mounted-'));
    const mount = (name: string, { certificate, key }: Issued): void => {
      const target = mkdtempSync(path.join(folder, `${name}-`));
      writeFileSync(path.join(target, 'tls.crt'), certificate);
      writeFileSync(path.join(target, 'tls.key'), key);
      symlinkSync(target, path.join(folder, 'next'));
      renameSync(path.join(folder, 'next'), path.join(folder, 'data'));
    };
    mount('a', authority.issue('first'));
    const at = (name: string): string => path.join(folder, 'data', name);
    const paths = { certificate: at('tls.crt'), key: at('tls.key'), clientCa: null };
    const certificate = await ServerCertificate.load(paths, 'required', silent);
    const second = authority.issue('second');
    mount('b', second);
    await certificate.look();
    await certificate.look();
    expect(certificate.fingerprint).toBe(fingerprintOf(second));
    rmSync(folder, { recursive: true });
  });

  it('stops the start where its files cannot be used', async () => {
    const files = new CertificateFolder(authority.issue('first'));
    const load = (): Promise<unknown> =>
      ServerCertificate.load(
        { certificate: files.certificateFile, key: files.keyFile, clientCa: path.join(files.folder, 'ca.crt') },
        'required',
        silent,
      );
    await expect(load()).rejects.toThrow(/ca\.crt cannot be read: ENOENT/);
    writeFileSync(path.join(files.folder, 'ca.crt'), 'nonsense');
    await expect(load()).rejects.toThrow(/ca\.crt has no certificate in PEM/);
    writeFileSync(path.join(files.folder, 'ca.crt'), authority.certificate);
    await expect(load()).resolves.toBeDefined();
    files.write({ key: authority.issue('other').key });
    await expect(load()).rejects.toThrow(/is not that of the first certificate/);
    files.remove();
  });

  it('warns of what expires soon, and counts the whole chain', async () => {
    const told: string[] = [];
    const log = { ...silent, warn: (_: object, text: string) => told.push(text) };
    const leaf = authority.issue('leaf', { days: 20 });
    const chain = { ...leaf, certificate: leaf.certificate + authority.issue('between', { days: 10 }).certificate };
    const files = new CertificateFolder(chain);
    const paths = { certificate: files.certificateFile, key: files.keyFile, clientCa: null };
    const certificate = await ServerCertificate.load(paths, 'required', log);
    expect(Math.round((certificate.expiresAt.getTime() - Date.now()) / 86_400_000)).toBe(10);
    expect(told).toEqual(['the certificate expires within two weeks']);
    await ServerCertificate.load(paths, 'required', log, () => Date.now() + 30 * 86_400_000);
    expect(told[1]).toBe('the certificate has expired');
    files.remove();
  });
});
