/**
 * Where master keys are: they wrap data keys, and nothing else. A provider keeps them to itself, so that a key
 * management service can be one: then `wrap` and `unwrap` are its operations. `context` is authenticated with the
 * wrapped key, and says whose it is: a wrapped key that was moved to another queue does not unwrap.
 */
export interface MasterKeyProvider {
  /** Whether it has this key at the moment, as far as it knows. Is asked with every request: must be cheap. */
  has(id: string): boolean;
  /** Throws where it does not have the key. */
  wrap(id: string, dataKey: Buffer, context: Buffer): Promise<Buffer>;
  /** Throws where it does not have the key, or this is not what was wrapped with it. */
  unwrap(id: string, wrapped: Buffer, context: Buffer): Promise<Buffer>;
}
