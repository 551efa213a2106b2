import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ServiceError } from '../errors/service-error.js';
import type { Caller } from '../identity/caller.js';
import { isOfOwnUser } from '../identity/permission.js';
import { Access } from './access.js';
import { isOfTenancy } from './resource-types.js';

/**
 * Lets a request through to a route that needs a permission on `identity`, `audit` or `stomp-sessions` only where the caller
 * has it in the tenancy, or where the route is about the caller's own user and allows that: users, groups, keys, the audit log
 * and STOMP sessions are in no compartment, so this is known before anything was looked for. All other permissions are asked about where the thing
 * that they are about is found. Comes after the guard that finds out who calls.
 */
@Injectable()
export class TenancyPermissionGuard implements CanActivate {
  constructor(
    private readonly access: Access,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { caller } = context.switchToHttp().getRequest<{ readonly caller?: Caller }>();
    if (caller?.permission === undefined || !isOfTenancy(caller.permission)) return true;
    if (isOfOwnUser(this.reflector, context)) return true;
    if (await this.access.may(caller, { compartmentId: caller.tenancyId })) return true;
    throw new ServiceError('NotAuthorizedOrNotFound', 'there is no such resource, or you may not use it');
  }
}
