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
  // Ours: what operators do, as a purge.
  'WorkRequestsController.cancel': 'use queues',
  'DeadLettersController.redrive': 'use queues',
  'DeadLettersController.delete': 'use queues',
  'DeadLettersController.resend': 'use queues',
  'MessagesController.put': 'use queue-push',
  'MessagesController.get': 'use queue-pull',
  'PeekController.peek': 'use queue-pull',
  'ExportController.export': 'use queue-pull',
  'MessagesController.update': 'use queue-pull',
  'MessagesController.updateMany': 'use queue-pull',
  'MessagesController.delete': 'use queue-pull',
  'MessagesController.deleteMany': 'use queue-pull',
  'PoliciesController.create': 'manage policies',
  'PoliciesController.get': 'read policies',
  'PoliciesController.list': 'inspect policies',
  'PoliciesController.update': 'manage policies',
  'PoliciesController.delete': 'manage policies',
  'PoliciesController.explain': 'read policies',
};
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
