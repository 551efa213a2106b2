import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { X509Certificate } from 'node:crypto';
import { PublicEndpoint } from '../../src/config/public-endpoint.js';
import { readConfiguration } from '../../src/config/environment.js';
import { banner } from '../../src/operations/banner.js';
import { startTestPods } from '../support/pod.js';
import { ensureSelfSigned, selfSignedPaths } from '../../src/tls/self-signed.js';
import { TlsClient } from './client.js';

const url = (environment: Record<string, string>): string =>
  new PublicEndpoint(readConfiguration({ TOWPATH_PORT: '1', ...environment })).url;

describe('a self-made certificate', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'self-signed-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('serves a pod of development, to clients that are told to trust it', async () => {
    const pods = await startTestPods(1, { TOWPATH_TLS_SELF_SIGNED: '1' });
    try {
      const [pod] = pods.pods;
      const { certificate } = selfSignedPaths(pods.dataDirectory);
      expect(pod!.url).toMatch(/^https:/);
      const trusting = new TlsClient(pod!.url, { ca: readFileSync(certificate) });
      const answer = await trusting.get('/livez');
      expect(answer.status).toBe(200);
      // Every other port of localhost would be bound by it too.
      expect(answer.headers).not.toHaveProperty('strict-transport-security');
      trusting.close();
      const strict = new TlsClient(pod!.url, {});
      await expect(strict.get('/livez')).rejects.toThrow(/self-signed/);
      strict.close();
      // The banner's own command, as it stands.
      const text = banner(
        pod!.url,
        'postgres://x',
        'd',
        { created: true, credentials: pods.credentials },
        true,
        certificate,
      );
      const command = /^curl [\s\S]*?\n {2}.*$/m.exec(text)?.[0] ?? '';
      expect((await promisify(execFile)('sh', ['-c', command])).stdout).toMatch(/^HTTP\/1.1 202/);
    } finally {
      await pods.stop();
    }
  });

  it('is kept, and made anew where it ends soon or names are missing', async () => {
    const { certificate, key } = selfSignedPaths(folder);
    const fingerprint = (): string => new X509Certificate(readFileSync(certificate)).fingerprint256;
    expect(await ensureSelfSigned(folder, ['queues.example.com', '10.1.2.3'])).toBe(true);
    expect(statSync(key).mode & 0o777).toBe(0o600);
    const made = new X509Certificate(readFileSync(certificate));
    for (const name of ['localhost', 'queues.example.com']) expect(made.checkHost(name)).toBe(name);
    for (const address of ['127.0.0.1', '10.1.2.3']) expect(made.checkIP(address)).toBe(address);
    const before = fingerprint();
    expect(await ensureSelfSigned(folder, ['queues.example.com'])).toBe(false);
    expect(fingerprint()).toBe(before);
    expect(await ensureSelfSigned(folder, ['other.example.com'])).toBe(true);
    expect(fingerprint()).not.toBe(before);
    writeFileSync(certificate, 'nonsense');
    expect(await ensureSelfSigned(folder, [])).toBe(true);
    const config = '[req]\ndistinguished_name=n\nprompt=no\n[n]\nCN=x\n';
    writeFileSync(path.join(folder, 'c'), config);
    const options = ['req', '-new', '-x509', '-key', key, '-days', '10', '-config', path.join(folder, 'c')];
    execFileSync('openssl', [
      ...options,
      '-addext',
      'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1',
      '-out',
      certificate,
    ]);
    expect(await ensureSelfSigned(folder, [])).toBe(true);
  });

  it('needs openssl, and says what to do without', async () => {
    await expect(ensureSelfSigned(folder, [], 'openssl-that-is-not-there')).rejects.toThrow(
      /needs the program openssl.*install it.*TOWPATH_TLS_CERT_FILE/,
    );
    await expect(ensureSelfSigned(folder, [], 'false')).rejects.toThrow(/openssl could not make a certificate/);
  });

  it('makes the public address https', () => {
    expect(url({})).toBe('http://127.0.0.1:1');
    expect(url({ TOWPATH_TLS_SELF_SIGNED: '1', TOWPATH_HOST: '::' })).toBe('https://127.0.0.1:1');
    expect(url({ TOWPATH_TLS_CERT_FILE: '/x', TOWPATH_TLS_KEY_FILE: '/y', TOWPATH_HOST: '::1' })).toBe(
      'https://[::1]:1',
    );
    expect(url({ TOWPATH_TLS_SELF_SIGNED: '1', TOWPATH_PUBLIC_URL: 'https://q.example' })).toBe('https://q.example');
  });
});
