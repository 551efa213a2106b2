import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface Issued {
  readonly certificate: string;
  readonly key: string;
}

export interface Wishes {
  readonly days?: number;
  readonly passphrase?: string;
}

/** An authority of the test's own, made with openssl: what it issues is in PEM. */
export class Authority {
  private readonly folder = mkdtempSync(path.join(tmpdir(), 'authority-'));
  readonly certificate: string;
  private serial = 1;

  constructor(name = 'Test authority') {
    this.openssl('req', '-x509', ...KEY, '-days', '30', '-subj', `/CN=${name}`, '-keyout', 'ca.key', '-out', 'ca.crt');
    this.certificate = this.read('ca.crt');
  }

  /** The path of the authority's certificate. */
  get file(): string {
    return path.join(this.folder, 'ca.crt');
  }

  /** A certificate for this machine, or for a client of this name. */
  issue(name: string, { days = 20, passphrase }: Wishes = {}): Issued {
    this.serial += 1;
    writeFileSync(path.join(this.folder, 'names'), 'subjectAltName = DNS:localhost, IP:127.0.0.1\n');
    this.openssl('req', '-new', ...KEY, '-subj', `/CN=${name}`, '-keyout', 'one.key', '-out', 'one.csr');
    const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-set_serial', String(this.serial), '-extfile', 'names'];
    this.openssl('x509', '-req', '-in', 'one.csr', ...signed, '-days', String(days), '-out', 'one.crt');
    if (passphrase !== undefined) {
      this.openssl('pkey', '-in', 'one.key', '-aes256', '-passout', `pass:${passphrase}`, '-out', 'sealed.key');
      return { certificate: this.read('one.crt'), key: this.read('sealed.key') };
    }
    return { certificate: this.read('one.crt'), key: this.read('one.key') };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  private read(name: string): string {
    return readFileSync(path.join(this.folder, name), 'utf8');
  }

  private openssl(...options: string[]): void {
    execFileSync('openssl', options, { cwd: this.folder, stdio: 'pipe' });
  }
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Files as a pod is told of them, in a folder of their own. */
export class CertificateFolder {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'certificate-'));
  readonly certificateFile = path.join(this.folder, 'tls.crt');
  readonly keyFile = path.join(this.folder, 'tls.key');

  constructor(issued: Issued) {
    this.write(issued);
  }

  write({ certificate, key }: Partial<Issued>): void {
    if (certificate !== undefined) writeFileSync(this.certificateFile, certificate);
    if (key !== undefined) writeFileSync(this.keyFile, key);
  }

  get environment(): Record<string, string> {
    return { TOWPATH_TLS_CERT_FILE: this.certificateFile, TOWPATH_TLS_KEY_FILE: this.keyFile };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
