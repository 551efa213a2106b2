import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { Access } from './access.js';
import { partsOf } from './resource-types.js';

/**
 * Lets a request through to a route that needs a permission on `identity` only where the caller has it in the tenancy:
 * users, groups and keys are in no compartment, so this is known before anything was looked for. All other permissions
 * are asked about where the thing that they are about is found. Comes after the guard that finds out who calls.
 */
@Injectable()
export class IdentityPermissionGuard implements CanActivate {
  constructor(private readonly access: Access) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { caller } = context.switchToHttp().getRequest<{ readonly caller?: Caller }>();
    if (caller?.permission === undefined || partsOf(caller.permission).type !== 'identity') return true;
    if (await this.access.may(caller, { compartmentId: caller.tenancyId })) return true;
    throw new ServiceError('NotAuthorizedOrNotFound', 'there is no such resource, or you may not use it');
  }
}
