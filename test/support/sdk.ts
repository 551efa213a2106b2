import path from 'node:path';
import common from 'oci-common';
import queue from 'oci-queue';

export interface SdkClients {
  readonly admin: queue.QueueAdminClient;
  readonly data: queue.QueueClient;
  readonly close: () => void;
}

export interface SdkOptions {
  /** The SDK as it comes, with its retries and its circuit breaker, rather than failing fast. */
  readonly asItComes?: boolean;
}

// The SDK tells of a region it does not know (ours is made up on purpose) and of every request that it does not repeat,
// right on the console. Only these texts are left out: what we or jest print stays.
const NOISE =
  /^(?:Found regionId |Falling back to using |Request cannot be retried\. Not Retrying|All retry attempts )/;
const { warn } = console;
console.warn = (...values: unknown[]): void => {
  if (typeof values[0] !== 'string' || !NOISE.test(values[0])) warn(...values);
};

/** The official SDK's clients, with nothing changed but the endpoint (and retries off, so that tests fail fast). */
export function sdkClients(
  dataDirectory: string,
  endpoint: string,
  { asItComes = false }: SdkOptions = {},
): SdkClients {
  const provider = new common.ConfigFileAuthenticationDetailsProvider(
    path.join(dataDirectory, 'oci', 'config'),
    'DEFAULT',
  );
  const parameters = { authenticationDetailsProvider: provider } as never;
  const configuration = asItComes
    ? undefined
    : ({
        retryConfiguration: common.NoRetryConfigurationDetails,
        circuitBreaker: new common.CircuitBreaker({ disableClientCircuitBreaker: true }),
      } as never);
  const admin = new queue.QueueAdminClient(parameters, configuration);
  const data = new queue.QueueClient(parameters, configuration);
  admin.endpoint = endpoint;
  data.endpoint = endpoint;
  return {
    admin,
    data,
    close: () => {
      admin.close();
      data.close();
    },
  };
}

/** Creates a queue and waits for it as SDK users do. Returns its OCID. */
export async function createQueue(
  sdk: SdkClients,
  compartmentId: string,
  details: Partial<queue.models.CreateQueueDetails> = {},
): Promise<string> {
  const { opcWorkRequestId } = await sdk.admin.createQueue({
    createQueueDetails: { displayName: 'test', compartmentId, ...details },
  });
  return (await finished(sdk, opcWorkRequestId)).identifier;
}

/** Waits until a work request is done, for at most `timeoutMs`; returns its queue and what became of it. */
export async function finished(
  { admin }: SdkClients,
  workRequestId: string,
  timeoutMs = 30_000,
): Promise<{ readonly identifier: string; readonly actionType: string; readonly status: string }> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const { workRequest } = await admin.getWorkRequest({ workRequestId });
    const [resource] = workRequest.resources;
    if (resource === undefined) throw new Error('the work request has no resource');
    // Terraform and the SDK's waiter look at this, not at the status alone.
    if (workRequest.timeFinished !== undefined && workRequest.timeFinished !== null) {
      return { identifier: resource.identifier, actionType: resource.actionType, status: workRequest.status };
    }
    if (Date.now() > deadline) throw new Error(`the work request is still ${workRequest.status}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What an SDK call that fails is rejected with. */
export const ociError = (statusCode: number, serviceCode: string): unknown =>
  expect.objectContaining({ statusCode, serviceCode, message: expect.stringMatching(/./) });
