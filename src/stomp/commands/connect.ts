import { ServiceError } from '../../errors/service-error.js';
import type { Frame, StompVersion } from '../codec/frame.js';
import { negotiate } from '../heart-beats.js';
import type { Caller } from '../../identity/caller.js';
import type { Session } from '../session.js';

const VERSIONS: readonly StompVersion[] = ['1.2', '1.1', '1.0'];
const SERVER = 'towpath';

/**
 * Logs in: `login` is <tenancy>/<user>, `passcode` an auth token or its base64. Whatever `host` says is accepted: there is one
 * here. Answers CONNECTED with the version, the session's id and heart-beats.
 */
export async function connect(session: Session, frame: Frame): Promise<void> {
  const version = versionOf(frame);
  if (version === null) {
    session.fail(
      new ServiceError('InvalidParameter', 'accept-version names no version that is spoken here: 1.0, 1.1 and 1.2 are'),
      frame,
      [['version', VERSIONS.toReversed().join(',')]],
    );
    return;
  }
  const { configuration, authentication } = session.services;
  const terms = negotiate(frame.headers.get('heart-beat'), configuration.stompHeartBeatMs);
  if (terms === null) {
    throw new ServiceError('InvalidParameter', 'heart-beat: must be two numbers of milliseconds, such as 10000,10000');
  }
  const login = frame.headers.get('login');
  const passcode = frame.headers.get('passcode');
  if (login === undefined || passcode === undefined) {
    throw new ServiceError(
      'NotAuthenticated',
      'CONNECT needs the headers login, <tenancy name>/<user name>, and passcode, an auth token or its base64',
    );
  }
  const authenticate = (): Promise<Caller> => authentication.authenticateLogin(login, passcode);
  const caller = await authenticate();
  // Meanwhile it may have gone.
  if (!session.isOpen) return;
  session.queues.compartmentId = frame.headers.get('compartment-id');
  session.connected(caller, version, terms, authenticate);
  const ours = String(configuration.stompHeartBeatMs);
  session.outbox.write('CONNECTED', [
    ['version', version],
    ['session', session.id],
    ['server', SERVER],
    ['heart-beat', `${ours},${ours}`],
  ]);
}

/** The highest that both know; a client that does not say speaks 1.0. Null: none. */
function versionOf({ headers }: Frame): StompVersion | null {
  const accepted = (headers.get('accept-version') ?? '1.0').split(',').map((each) => each.trim());
  return VERSIONS.find((version) => accepted.includes(version)) ?? null;
}
