/** What an operator has to mend about certificates, in plain words. */
export class TlsError extends Error {
  override readonly name = 'TlsError';
}
