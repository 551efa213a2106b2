import { request as httpRequest } from 'node:http';
import {
  type ArgumentsHost,
  Body,
  Catch,
  Controller,
  createParamDecorator,
  type ExecutionContext,
  Get,
  Global,
  Head,
  type INestApplication,
  Module,
  Post,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import type { FastifyReply } from 'fastify';
import { Database } from '../../src/database/database.js';
import { IdentityFunctions } from '../../src/database/identity-functions.js';
import { toServiceError } from '../../src/errors/catalogue.js';
import { CONFIGURATION, readConfiguration } from '../../src/config/environment.js';
import { AuthenticationGuard } from '../../src/identity/authentication.guard.js';
import type { Caller } from '../../src/identity/caller.js';
import { IdentityModule } from '../../src/identity/identity.module.js';
import {
  AllowsOwnUser,
  CurrentCaller,
  declaredRoutes,
  isOfOwnUser,
  Public,
  Requires,
  undeclaredRoutes,
} from '../../src/identity/permission.js';
import { createTestDatabase } from '../support/database.js';
import { bearer, makeUser, type User } from './user.js';
import { signByHand } from './wire.js';

@Controller('declared')
class DeclaredController {
  @Requires('read queues')
  @Get()
  read(@CurrentCaller() caller: Caller): Caller {
    return caller;
  }

  @Requires('use queue-push')
  @Post()
  put(@CurrentCaller() caller: Caller, @Body() body: Buffer): { caller: Caller; length: number } {
    return { caller, length: body.length };
  }

  @Public()
  @Get('public')
  open(): string {
    return 'open';
  }
}

@Controller('undeclared')
class UndeclaredController {
  @Get()
  read(): string {
    return 'never';
  }

  @Head('head')
  look(): void {
    // Never reached.
  }

  helper(): string {
    return 'no route';
  }
}

const OfOwnUser = createParamDecorator((_: unknown, context: ExecutionContext) =>
  isOfOwnUser(new Reflector(), context),
);

@Controller('users')
class UserController {
  @AllowsOwnUser()
  @Requires('manage identity')
  @Get(':userId')
  own(@OfOwnUser() isOwn: boolean): { isOwn: boolean } {
    return { isOwn };
  }

  @Requires('manage identity')
  @Post(':userId')
  others(@OfOwnUser() isOwn: boolean): { isOwn: boolean } {
    return { isOwn };
  }
}

@Public()
@Controller('open')
class OpenController {
  @Get()
  read(): string {
    return 'open';
  }
}

@Catch()
class ErrorFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const { status, code } = toServiceError(error);
    void host.switchToHttp().getResponse<FastifyReply>().status(status).send({ code });
  }
}

describe('the guard', () => {
  let app: NestFastifyApplication;
  let port: number;
  let user: User;
  let test: Awaited<ReturnType<typeof createTestDatabase>>;
  beforeAll(async () => {
    test = await createTestDatabase();
    @Global()
    @Module({
      providers: [
        { provide: Database, useValue: test.database },
        { provide: CONFIGURATION, useValue: readConfiguration({}) },
      ],
      exports: [Database, CONFIGURATION],
    })
    class DatabaseModule {}
    @Module({
      imports: [DatabaseModule, IdentityModule],
      controllers: [DeclaredController, UndeclaredController, UserController, OpenController],
      providers: [{ provide: APP_GUARD, useExisting: AuthenticationGuard }],
    })
    class AppModule {}
    const built = await Test.createTestingModule({ imports: [AppModule] }).compile();
    const adapter = new FastifyAdapter();
    adapter.getInstance().removeAllContentTypeParsers();
    adapter.getInstance().addContentTypeParser('*', { parseAs: 'buffer' }, (_, body, done) => {
      done(null, body);
    });
    app = built.createNestApplication<NestFastifyApplication>(adapter, { logger: false, bodyParser: false });
    app.useGlobalFilters(new ErrorFilter());
    await app.listen(0, '127.0.0.1');
    port = Number(new URL(await app.getUrl()).port);
    user = await makeUser(new IdentityFunctions(test.database));
  });
  afterAll(async () => {
    await app.close();
    await test.drop();
  });

  /** Sends a request as it is, over the network; the body is JSON, if there is one. */
  function send(request: ReturnType<typeof signByHand>): Promise<{ status: number; body: unknown }> {
    return new Promise((resolve, reject) => {
      const { method, target, rawHeaders, body } = request;
      const client = httpRequest({
        port,
        host: '127.0.0.1',
        method,
        path: target,
        headers: [...rawHeaders],
        agent: false,
      });
      client.on('error', reject);
      client.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const answer: unknown = text.startsWith('{') ? JSON.parse(text) : text;
          resolve({ status: response.statusCode ?? 0, body: answer });
        });
      });
      client.end(body);
    });
  }

  it('lets signed requests and keys through and tells the route who calls', async () => {
    const caller = {
      ...user.owner,
      credential: 'signature',
      credentialId: user.signer.fingerprint,
      permission: 'read queues',
    };
    const body = '{"messages":["é"]}';
    expect(await send(signByHand(user.signer, { target: '/declared?a=%20b' }))).toEqual({ status: 200, body: caller });
    expect(await send(signByHand(user.signer, { method: 'POST', target: '/declared', body }))).toEqual({
      status: 201,
      body: { caller: { ...caller, permission: 'use queue-push' }, length: Buffer.byteLength(body) },
    });
    expect(await send({ ...bearer(user.apiKey), target: '/declared' })).toEqual({
      status: 200,
      body: { ...caller, credential: 'api-key', credentialId: user.apiKeyId },
    });
    expect((await send(signByHand(user.signer, { method: 'HEAD', target: '/declared' }))).status).toBe(200);
  });

  it('answers 401 without credentials, and to a body that was changed', async () => {
    const refused = { status: 401, body: { code: 'NotAuthenticated' } };
    expect(await send({ ...bearer('x'), target: '/declared' })).toEqual(refused);
    expect(await send({ ...bearer('x'), target: '/undeclared' })).toEqual(refused);
    const request = signByHand(user.signer, { method: 'POST', target: '/declared', body: '{"a":1}' });
    expect(await send({ ...request, body: Buffer.from('{"a":2}') })).toEqual(refused);
  });

  it('asks nothing on public routes', async () => {
    for (const target of ['/declared/public', '/open']) {
      expect(await send({ method: 'GET', target, rawHeaders: ['host', 'x'], body: undefined })).toEqual({
        status: 200,
        body: 'open',
      });
    }
  });

  it('knows what is of the caller’s own user, on routes that make a difference', async () => {
    const { userId } = user.owner;
    const isOwn = async (id: string, method = 'GET'): Promise<unknown> =>
      (await send({ ...bearer(user.apiKey), method, target: `/users/${id}` })).body;
    expect(await isOwn(userId)).toEqual({ isOwn: true });
    for (const other of [`${userId}x`, userId.toUpperCase(), userId.slice(1), '%00', `${userId}%20`]) {
      expect([other, await isOwn(other)]).toEqual([other, { isOwn: false }]);
    }
    expect(await isOwn(userId, 'POST')).toEqual({ isOwn: false });
  });

  it('refuses a route about which nothing was declared, as if it were not there', async () => {
    expect(await send({ ...bearer(user.apiKey), target: '/undeclared' })).toEqual({
      status: 404,
      body: { code: 'NotAuthorizedOrNotFound' },
    });
  });

  it('can list what was declared about every route', () => {
    const application: INestApplication = app;
    expect(undeclaredRoutes(application)).toEqual(['GET UndeclaredController.read', 'HEAD UndeclaredController.look']);
    expect(declaredRoutes(application)).toMatchObject([
      { name: 'GET DeclaredController.read', operation: null, isPublic: false, permission: 'read queues' },
      { name: 'POST DeclaredController.put', operation: null, isPublic: false, permission: 'use queue-push' },
      { name: 'GET DeclaredController.open', operation: null, isPublic: true, permission: null },
      { name: 'GET UndeclaredController.read', operation: null, isPublic: false, permission: null },
      { name: 'HEAD UndeclaredController.look', operation: null, isPublic: false, permission: null },
      { name: 'GET UserController.own', isPublic: false, permission: 'manage identity', allowsOwnUser: true },
      { name: 'POST UserController.others', isPublic: false, permission: 'manage identity', allowsOwnUser: false },
      { name: 'GET OpenController.read', operation: null, isPublic: true, permission: null },
    ]);
  });
});
