import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readConfiguration } from '../../src/config/environment.js';
import { problemsOf, refusal } from '../../src/config/start-checks.js';

describe('what speaks against a start', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'checks-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** A pod that may run in production, with changes. */
  const problems = (changes: Record<string, string> = {}): string[] =>
    problemsOf(
      readConfiguration({
        TOWPATH_MODE: 'production',
        TOWPATH_DATA_DIR: folder,
        DATABASE_URL: 'postgres://towpath:0c1d7cbf3a@db.example/towpath',
        TOWPATH_HOST: '0.0.0.0',
        TOWPATH_TLS_CERT_FILE: '/tls.crt',
        TOWPATH_TLS_KEY_FILE: '/tls.key',
        TOWPATH_PUBLIC_URL: 'https://queues.example.com',
        TOWPATH_MASTER_KEY_FILE: '/master.key',
        ...changes,
      }),
    );
  const noTls = { TOWPATH_TLS_CERT_FILE: '', TOWPATH_TLS_KEY_FILE: '' };

  it('is nothing for a pod that is set up well', () => {
    expect(problems()).toEqual([]);
    expect(problems({ ...noTls, TOWPATH_BEHIND_PROXY: '1' })).toEqual([]);
    expect(problems({ ...noTls, TOWPATH_HOST: '127.0.0.1' })).toEqual([]);
    expect(problems({ ...noTls, TOWPATH_HOST: '::1' })).toEqual([]);
    expect(problems({ DATABASE_URL: '', TOWPATH_ALLOW_EMBEDDED: '1' })).toEqual([]);
    expect(problems({ TOWPATH_MASTER_KEY_FILE: '', TOWPATH_SEALING: 'off' })).toEqual([]);
    // Who connects with a certificate, or as the system's user, has no password.
    expect(problems({ DATABASE_URL: 'postgres://towpath@db.example/towpath' })).toEqual([]);
  });

  it.each([
    [{ DATABASE_URL: '' }, /embedded PostgreSQL.*DATABASE_URL.*TOWPATH_ALLOW_EMBEDDED=1/],
    [{ DATABASE_URL: 'postgres://towpath:development-only@db/x' }, /the password in DATABASE_URL/],
    [{ DATABASE_URL: 'postgres://orders:orders@db/x' }, /the password in DATABASE_URL/],
    [{ TOWPATH_MASTER_KEY_FILE: '' }, /no master key.*TOWPATH_MASTER_KEY_FILE/],
    [noTls, /listen on 0\.0\.0\.0.*without TLS.*TOWPATH_BEHIND_PROXY=1/],
    [{ ...noTls, TOWPATH_HOST: 'queues.internal' }, /listen on queues\.internal.*without TLS/],
    [{ ...noTls, TOWPATH_HOST: '::' }, /listen on ::.*without TLS/],
    [{ TOWPATH_PUBLIC_URL: 'http://queues.example.com' }, /TOWPATH_PUBLIC_URL begins with http:.*https:/],
    [{ ...noTls, TOWPATH_TLS_SELF_SIGNED: '1' }, /TOWPATH_TLS_SELF_SIGNED=1 makes a certificate that no client trusts/],
  ])('in production: %j', (changes, expected) => {
    expect(problems(changes)).toEqual([expect.stringMatching(expected)]);
    expect(problems({ ...changes, TOWPATH_MODE: 'development' })).toEqual([]);
  });

  it('in production: credentials that lie in the data directory', () => {
    writeFileSync(path.join(folder, 'credentials.json'), '{}');
    expect(problems()).toEqual([expect.stringMatching(/credentials\.json holds an administrator's secrets.*move it/)]);
    expect(problems({ TOWPATH_MODE: 'development' })).toEqual([]);
  });

  it.each([
    [{ TOWPATH_TLS_KEY_FILE: '' }, /TOWPATH_TLS_CERT_FILE is set, but not TOWPATH_TLS_KEY_FILE/],
    [{ TOWPATH_TLS_CERT_FILE: '', TOWPATH_HOST: '127.0.0.1' }, /TOWPATH_TLS_KEY_FILE is set, but not/],
    [{ TOWPATH_OIDC_ISSUER: 'https://login.example.com' }, /made for other services would be taken/],
    [{ TOWPATH_OIDC_AUDIENCE: 'queues' }, /TOWPATH_OIDC_AUDIENCE is set, but not TOWPATH_OIDC_ISSUER/],
    [{ ...noTls, TOWPATH_HOST: '::1', TOWPATH_TLS_CLIENT_CA_FILE: '/ca' }, /TOWPATH_TLS_CLIENT_CA_FILE .* takes TLS/],
  ])('in any mode: %j', (changes, expected) => {
    expect(problems(changes)).toEqual([expect.stringMatching(expected)]);
    expect(problems({ ...changes, TOWPATH_MODE: 'development' })).toEqual([expect.stringMatching(expected)]);
  });

  it('in any mode: a certificate that is given and one that is made', () => {
    const both = problems({ TOWPATH_TLS_SELF_SIGNED: '1', TOWPATH_MODE: 'development' });
    expect(both).toEqual([expect.stringMatching(/take one of the two/)]);
  });

  it('is told all at once', () => {
    writeFileSync(path.join(folder, 'credentials.json'), '{}');
    const configuration = readConfiguration({
      TOWPATH_MODE: 'production',
      TOWPATH_DATA_DIR: folder,
      TOWPATH_HOST: '0.0.0.0',
      TOWPATH_PUBLIC_URL: 'http://queues.example.com',
      TOWPATH_TLS_CLIENT_CA_FILE: '/ca',
    });
    const { message } = refusal(configuration, problemsOf(configuration));
    expect(message.split('\n').slice(1)).toEqual(
      [
        /CLIENT_CA_FILE/,
        /embedded PostgreSQL/,
        /credentials\.json/,
        /no master key/,
        /without TLS/,
        /TOWPATH_PUBLIC_URL/,
      ].map((each) => expect.stringMatching(each)),
    );
    expect(message).toMatch(/^Towpath does not start in production mode \(TOWPATH_MODE=production\)/);
  });
});
