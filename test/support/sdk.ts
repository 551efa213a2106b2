import path from 'node:path';
import common from 'oci-common';
import queue from 'oci-queue';

export interface SdkClients {
  readonly admin: queue.QueueAdminClient;
  readonly data: queue.QueueClient;
  readonly close: () => void;
}

/** The official SDK's clients, with nothing changed but the endpoint (and retries off, so that tests fail fast). */
export function sdkClients(dataDirectory: string, endpoint: string): SdkClients {
  const provider = new common.ConfigFileAuthenticationDetailsProvider(
    path.join(dataDirectory, 'oci', 'config'),
    'DEFAULT',
  );
  const parameters = { authenticationDetailsProvider: provider } as never;
  const configuration = {
    retryConfiguration: common.NoRetryConfigurationDetails,
    circuitBreaker: new common.CircuitBreaker({ disableClientCircuitBreaker: true }),
  } as never;
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
  { admin }: SdkClients,
  compartmentId: string,
  details: Partial<queue.models.CreateQueueDetails> = {},
): Promise<string> {
  const { opcWorkRequestId } = await admin.createQueue({
    createQueueDetails: { displayName: 'test', compartmentId, ...details },
  });
  const { workRequest } = await admin.getWorkRequest({ workRequestId: opcWorkRequestId });
  const [resource] = workRequest.resources;
  if (resource === undefined) throw new Error('the work request has no resource');
  return resource.identifier;
}
