import { declaredRoutes, undeclaredRoutes } from '../../src/identity/permission.js';
import { startTestPods, type TestPods } from '../support/pod.js';

/** The contract's section 6: what one must be permitted for each operation. */
const PERMISSIONS: Readonly<Record<string, string>> = {
  'QueuesController.list': 'inspect queues',
  'WorkRequestsController.list': 'inspect queues',
  'QueuesController.get': 'read queues',
  'ConsumerGroupsController.list': 'inspect consumer-groups',
  'ConsumerGroupsController.get': 'read consumer-groups',
  'ConsumerGroupsController.update': 'use consumer-groups',
  'ConsumerGroupsController.create': 'manage consumer-groups',
  'ConsumerGroupsController.delete': 'manage consumer-groups',
  'WorkRequestsController.get': 'read queues',
  'WorkRequestsController.errors': 'read queues',
  'WorkRequestsController.logs': 'read queues',
  'ContentsController.stats': 'read queues',
  'ContentsController.channels': 'read queues',
  'QueuesController.update': 'use queues',
  'QueuesController.purge': 'use queues',
  'QueuesController.create': 'manage queues',
  'QueuesController.delete': 'manage queues',
  'QueuesController.changeCompartment': 'manage queues',
  // Ours.
  'QueuesController.rotateDataKey': 'manage queues',
  // Ours: what operators do, as a purge.
  'WorkRequestsController.cancel': 'use queues',
  'DeadLettersController.redrive': 'use queues',
  'DeadLettersController.delete': 'use queues',
  'DeadLettersController.resend': 'use queues',
  'AuditController.list': 'inspect audit',
  'AuditController.export': 'read audit',
  'StompSessionsController.list': 'inspect stomp-sessions',
  'StompSessionsController.get': 'read stomp-sessions',
  'StompSessionsController.disconnect': 'use stomp-sessions',
  'MessagesController.put': 'use queue-push',
  'MessagesController.get': 'use queue-pull',
  'PeekController.peek': 'use queue-pull',
  'ExportController.export': 'use queue-pull',
  'MessagesController.update': 'use queue-pull',
  'MessagesController.updateMany': 'use queue-pull',
  'MessagesController.delete': 'use queue-pull',
  'MessagesController.deleteMany': 'use queue-pull',
  // Ours: identity. What is said of credentials holds for other people's: see OWN.
  'CompartmentsController.list': 'inspect identity',
  'CompartmentsController.get': 'read identity',
  'CompartmentsController.create': 'manage identity',
  'CompartmentsController.update': 'manage identity',
  'CompartmentsController.delete': 'manage identity',
  'UsersController.list': 'inspect identity',
  'UsersController.get': 'read identity',
  'UsersController.create': 'manage identity',
  'UsersController.delete': 'manage identity',
  'GroupsController.list': 'inspect identity',
  'GroupsController.get': 'read identity',
  'GroupsController.listMembers': 'read identity',
  'GroupsController.create': 'manage identity',
  'GroupsController.delete': 'manage identity',
  'GroupsController.addMember': 'manage identity',
  'GroupsController.removeMember': 'manage identity',
  'CredentialsController.createSigningKey': 'manage identity',
  'CredentialsController.listSigningKeys': 'read identity',
  'CredentialsController.deleteSigningKey': 'manage identity',
  'CredentialsController.createApiKey': 'manage identity',
  'CredentialsController.listApiKeys': 'read identity',
  'CredentialsController.deleteApiKey': 'manage identity',
  'CredentialsController.createAuthToken': 'manage identity',
  'CredentialsController.listAuthTokens': 'read identity',
  'CredentialsController.deleteAuthToken': 'manage identity',
  'PoliciesController.create': 'manage policies',
  'PoliciesController.get': 'read policies',
  'PoliciesController.list': 'inspect policies',
  'PoliciesController.update': 'manage policies',
  'PoliciesController.delete': 'manage policies',
  'PoliciesController.explain': 'read policies',
};
/** For which no permission is needed where they are about the caller's own user: its credentials, and a look at itself. */
const OWN = Object.keys(PERMISSIONS)
  .filter((name) => name.startsWith('CredentialsController.'))
  .concat('UsersController.get');
const OPEN = ['HealthController.livez', 'HealthController.readyz', 'MetricsController.read'];

/** Without the method. */
const nameOf = (name: string): string => name.slice(name.indexOf(' ') + 1);

describe('the routes of the application', () => {
  let pods: TestPods;

  beforeAll(async () => {
    pods = await startTestPods();
  });
  afterAll(async () => {
    await pods.stop();
  });

  it('all say who may call them', () => {
    const { app } = pods.pods[0]!;
    expect(declaredRoutes(app).length).toBeGreaterThan(20);
    expect(undeclaredRoutes(app)).toEqual([]);
    expect(declaredRoutes(app).filter((route) => route.isPublic && route.permission !== null)).toEqual([]);
  });

  it('need the permissions of the contract', () => {
    const routes = declaredRoutes(pods.pods[0]!.app);
    const closed = routes.filter((route) => !route.isPublic);
    // Those of later features are added here with the contract at hand.
    expect(Object.fromEntries(closed.map(({ name, permission }) => [nameOf(name), permission]))).toEqual(PERMISSIONS);
    expect(routes.filter((route) => route.isPublic).map(({ name }) => nameOf(name))).toEqual(OPEN);
  });

  it('let users manage their own credentials, and nothing else of their own', () => {
    const own = declaredRoutes(pods.pods[0]!.app).filter((route) => route.allowsOwnUser);
    expect(own.map(({ name }) => nameOf(name)).toSorted()).toEqual(OWN.toSorted());
  });

  it('answer 401 without credentials, all but the open ones', async () => {
    const [pod] = pods.pods;
    const document = (await (await fetch(`${pod!.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { security: unknown[] }>>;
    };
    for (const [path, item] of Object.entries(document.paths)) {
      for (const [method, { security }] of Object.entries(item)) {
        const { status } = await fetch(`${pod!.url}${path.replaceAll(/[{}]/g, '')}`, { method: method.toUpperCase() });
        expect([method, path, status]).toEqual([method, path, security.length === 0 ? 200 : 401]);
      }
    }
  });
});
