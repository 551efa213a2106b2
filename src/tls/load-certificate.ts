import { isIP } from 'node:net';
import type { Configuration } from '../config/environment.js';
import { ServerCertificate, type TlsLog } from './server-certificate.js';
import { ensureSelfSigned, selfSignedPaths } from './self-signed.js';

/**
 * The certificate that the configuration names, or the self-made one; null where the pod speaks no TLS. Throws a TlsError
 * where the files cannot be used, or made.
 */
export async function loadCertificate(configuration: Configuration, log: TlsLog): Promise<ServerCertificate | null> {
  const { tlsCertFile, tlsKeyFile, tlsClientCaFile: clientCa, tlsClientCertificates, tlsSelfSigned } = configuration;
  if (tlsSelfSigned) {
    const { dataDirectory } = configuration;
    const paths = selfSignedPaths(dataDirectory);
    if (await ensureSelfSigned(dataDirectory, namesOf(configuration))) {
      log.info({}, `made a certificate for development, which clients have to be told to trust: ${paths.certificate}`);
    }
    return ServerCertificate.load({ ...paths, clientCa }, tlsClientCertificates, log);
  }
  if (tlsCertFile === null || tlsKeyFile === null) return null;
  return ServerCertificate.load({ certificate: tlsCertFile, key: tlsKeyFile, clientCa }, tlsClientCertificates, log);
}

/** The names that clients may call the pod by. */
function namesOf({ host, publicUrl }: Configuration): string[] {
  const names = [host, publicUrl === null ? host : new URL(publicUrl).hostname.replace(/^\[|\]$/g, '')];
  return names.filter((name) => name !== '0.0.0.0' && name !== '::' && (isIP(name) !== 0 || /^[\w.-]+$/.test(name)));
}
