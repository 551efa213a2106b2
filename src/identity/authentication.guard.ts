import { type CanActivate, type ExecutionContext, Injectable, Logger } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { ServiceError } from '../errors/service-error.js';
import { AuthenticationService } from './authentication.service.js';
import { OPERATION_ID, PERMISSION, type Permission, PUBLIC } from './permission.js';

/** What a route declares. */
interface Declarations {
  readonly isPublic: boolean;
  readonly permission: Permission | undefined;
  readonly id: string | undefined;
}

/**
 * Lets a request through to a route that is not `@Public()` only with valid credentials, and sets `request.caller`,
 * with the permission that the route declares.
 * Throws NotAuthenticated without them. A route about which nothing was declared is refused as if it did not exist.
 */
@Injectable()
export class AuthenticationGuard implements CanActivate {
  private readonly logger = new Logger(AuthenticationGuard.name);
  /** By handler. They do not change, and looking them up is work for each request. */
  private readonly declarations = new WeakMap<object, Declarations>();

  constructor(
    private readonly authentication: AuthenticationService,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const { isPublic, permission, id } = this.declarationsOf(context);
    if (isPublic) return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const { method = '', url = '', rawHeaders } = request.raw;
    if (permission !== undefined && id !== undefined) request.operation = { id, permission };
    const caller = await this.authentication.authenticate({
      method,
      target: url,
      rawHeaders,
      body: bytesOf(request.body),
    });
    request.caller = {
      ...caller,
      ...(permission === undefined ? {} : { permission }),
      ...(id === undefined ? {} : { request: { id: request.id, address: request.ip, operation: id } }),
    };
    // Asked after the credentials, so that strangers cannot fill the log.
    if (permission === undefined) {
      const route = `${context.getClass().name}.${context.getHandler().name}`;
      this.logger.error(`${route} declares neither @Requires(...) nor @Public(): it is refused`);
      throw new ServiceError('NotAuthorizedOrNotFound', 'there is no such resource, or you may not use it');
    }
    return true;
  }

  private declarationsOf(context: ExecutionContext): Declarations {
    const handler = context.getHandler();
    const known = this.declarations.get(handler);
    if (known !== undefined) return known;
    const places = [handler, context.getClass()];
    const found = {
      isPublic: this.reflector.getAllAndOverride<boolean | undefined>(PUBLIC, places) === true,
      permission: this.reflector.getAllAndOverride<Permission | undefined>(PERMISSION, places),
      id: this.reflector.get<string | undefined>(OPERATION_ID, handler),
    };
    this.declarations.set(handler, found);
    return found;
  }
}

/** The bytes received. A body that something parsed before cannot be compared with its digest any more: a mistake of ours. */
function bytesOf(body: unknown): Buffer | undefined {
  if (body === undefined || body === null) return undefined;
  if (Buffer.isBuffer(body)) return body;
  throw new Error('the body of a request was parsed before its signature was verified');
}
