import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { Notifications } from '../database/notifications.js';
import { AuthenticationService } from './authentication.service.js';

/**
 * Makes this pod forget credentials as soon as they are revoked. The notification `{"t": "identity", "tenancyId", "userId"}`
 * comes from triggers, so from whatever deletes a credential or a user: another pod, this one, or somebody at psql. Who
 * misses it notices two seconds later, when the pod looks the credential up again anyway.
 */
@Injectable()
export class Revocations implements OnApplicationShutdown {
  private readonly onMessage = (payload: unknown): void => {
    if (typeof payload !== 'object' || payload === null) return;
    const { t, tenancyId, userId } = payload as { t?: unknown; tenancyId?: unknown; userId?: unknown };
    if (t !== 'identity' || typeof tenancyId !== 'string' || typeof userId !== 'string') return;
    this.authentication.forget({ tenancyId, userId });
  };
  // Whatever was revoked while nobody listened.
  private readonly onListening = (): void => this.authentication.forget(null);

  constructor(
    private readonly authentication: AuthenticationService,
    private readonly notifications: Notifications,
  ) {
    notifications.events.on('message', this.onMessage);
    notifications.events.on('listening', this.onListening);
  }

  onApplicationShutdown(): void {
    this.notifications.events.off('message', this.onMessage);
    this.notifications.events.off('listening', this.onListening);
  }
}
