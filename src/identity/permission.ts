import {
  createParamDecorator,
  RequestMethod,
  SetMetadata,
  type CustomDecorator,
  type ExecutionContext,
  type INestApplicationContext,
} from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import type { Caller } from './caller.js';

/** A verb of OCI's policies on a resource type; verbs include those before them. */
export type Permission = `${'inspect' | 'read' | 'use' | 'manage'} ${
  | 'queues'
  | 'queue-push'
  | 'queue-pull'
  | 'consumer-groups'
  // Ours, all four. `identity` is compartments, users, groups and credentials.
  | 'identity'
  | 'policies'
  | 'audit'
  | 'stomp-sessions'}`;

/** Metadata keys, for the guard. */
export const PERMISSION = 'towpath:permission';
export const PUBLIC = 'towpath:public';
export const OPERATION_ID = 'towpath:operation-id';
export const OWN_USER = 'towpath:own-user';

/** Says what a caller must be permitted to call this route, or all routes of this controller. */
export function Requires(permission: Permission): CustomDecorator {
  return SetMetadata(PERMISSION, permission);
}

/** Opens a route, or all routes of a controller, to callers without credentials: probes, metrics, the description. */
export function Public(): CustomDecorator {
  return SetMetadata(PUBLIC, true);
}

/**
 * On a route whose path has a `userId`: callers need no permission where that is themselves. `isOfOwnUser` is for whoever
 * enforces permissions, who asks it before looking for a policy.
 */
export function AllowsOwnUser(): CustomDecorator {
  return SetMetadata(OWN_USER, true);
}

/** Whether a request to a route with `AllowsOwnUser` is about the caller's own user. */
export function isOfOwnUser(reflector: Reflector, context: ExecutionContext): boolean {
  const declarations = [context.getHandler(), context.getClass()];
  if (reflector.getAllAndOverride<boolean | undefined>(OWN_USER, declarations) !== true) return false;
  const { caller, params } = context.switchToHttp().getRequest<FastifyRequest>();
  return caller !== undefined && (params as { userId?: unknown }).userId === caller.userId;
}

/** The parameter is the caller of the request. Only on routes that are not public: there nobody is known. */
export const CurrentCaller = createParamDecorator((_: unknown, context: ExecutionContext): Caller => {
  const { caller } = context.switchToHttp().getRequest<FastifyRequest>();
  if (caller === undefined) throw new Error('a public route asks for its caller');
  return caller;
});

/** A route with what was declared about it. */
export interface DeclaredRoute {
  /** `GET QueueController.getQueue`. */
  readonly name: string;
  /** Its name in the API; null where it has none. */
  readonly operation: string | null;
  readonly isPublic: boolean;
  readonly permission: Permission | null;
  /** Whether none is needed for the caller's own user. */
  readonly allowsOwnUser: boolean;
}

/** All routes of the application's controllers. A test requires that each is public or has a permission, not both. */
export function declaredRoutes(app: Pick<INestApplicationContext, 'get'>): DeclaredRoute[] {
  const reflector = app.get(Reflector, { strict: false });
  const scanner = new MetadataScanner();
  const routes: DeclaredRoute[] = [];
  for (const module of app.get(ModulesContainer, { strict: false }).values()) {
    for (const { metatype: controller } of module.controllers.values()) {
      if (controller === null) continue;
      const prototype: Record<string, () => unknown> = controller.prototype;
      for (const method of scanner.getAllMethodNames(prototype)) {
        const handler = prototype[method];
        // Methods without a path are no routes.
        if (handler === undefined || reflector.get<unknown>(PATH_METADATA, handler) === undefined) continue;
        const verb = reflector.get<RequestMethod>(METHOD_METADATA, handler);
        routes.push({
          name: `${RequestMethod[verb]} ${controller.name}.${method}`,
          operation: reflector.get<string | undefined>(OPERATION_ID, handler) ?? null,
          isPublic: reflector.getAllAndOverride<boolean | undefined>(PUBLIC, [handler, controller]) ?? false,
          permission: reflector.getAllAndOverride<Permission | undefined>(PERMISSION, [handler, controller]) ?? null,
          allowsOwnUser: reflector.getAllAndOverride<boolean | undefined>(OWN_USER, [handler, controller]) ?? false,
        });
      }
    }
  }
  return routes;
}

/** The routes that the guard refuses because nothing was declared about them. */
export function undeclaredRoutes(app: INestApplicationContext): string[] {
  return declaredRoutes(app)
    .filter((route) => !route.isPublic && route.permission === null)
    .map((route) => route.name);
}
