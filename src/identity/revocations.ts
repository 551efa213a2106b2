import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Notifications } from '../database/notifications.js';
import { AuthenticationService } from './authentication.service.js';

type Listener = (user: { readonly tenancyId: string; readonly userId: string } | null) => void;

/**
 * Makes this pod forget credentials as soon as they are revoked. The notification `{"t": "identity", "tenancyId", "userId"}`
 * comes from triggers, so from whatever deletes a credential or a user: another pod, this one, or somebody at psql. Who
 * misses it notices two seconds later, when the pod looks the credential up again anyway.
 */
@Injectable()
export class Revocations implements OnApplicationShutdown {
  private readonly listeners = new Set<Listener>();
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, tenancyId, userId } = payload as { t?: unknown; tenancyId?: unknown; userId?: unknown };
    if (t !== 'identity' || typeof tenancyId !== 'string' || typeof userId !== 'string') return;
    this.changed({ tenancyId, userId });
  };
  // Whatever was revoked while nobody listened.
  private readonly onListening = (): void => this.changed(null);

  constructor(
    private readonly authentication: AuthenticationService,
    private readonly notifications: Notifications,
  ) {
    notifications.events.on('message', this.onMessage);
    notifications.events.on('listening', this.onListening);
  }

  /** Tells `listener` whose credentials may have changed, null: anybody's, when they are forgotten here. Returns how to end that. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
  }

  private changed(user: Parameters<Listener>[0]): void {
    this.authentication.forget(user);
    for (const listener of this.listeners) listener(user);
  }
}
