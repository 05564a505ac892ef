/** In which order a release changed what is there: revisions of the API's store are one row. */
import type { ApiClient, Change } from './api-client.js';
import { deploymentsPath, jobsPath } from './furniture.js';

export interface Order {
  stop(): void;
  /** Throws unless the Job of migrations had ended well, and alone, before the first Deployment was made or given another template. */
  requireMigrationFirst(change: 'ADDED' | 'MODIFIED'): void;
}

export async function watchOrder(api: ApiClient): Promise<Order> {
  const jobs: Change[] = [];
  const deployments: Change[] = [];
  const stops = [
    await api.watch(jobsPath, (change) => jobs.push(change)),
    await api.watch(deploymentsPath, (change) => deployments.push(change)),
  ];
  const generations = new Map(
    (await api.list(deploymentsPath)).map(({ metadata }) => [metadata.name, metadata.generation]),
  );
  return {
    stop: () => stops.forEach((stop) => stop()),
    requireMigrationFirst: (wanted) => {
      const succeeded = jobs.find(
        ({ object }) => (object.status as { succeeded?: number } | undefined)?.succeeded === 1,
      );
      if (succeeded === undefined) throw new Error('no Job has succeeded');
      // Its status changes beside that, by the controller.
      const changed = deployments.find(
        ({ type, object }) =>
          type === wanted && object.metadata.generation !== generations.get(object.metadata.name),
      );
      if (changed === undefined) throw new Error('no Deployment has changed');
      if (revisionOf(succeeded) > revisionOf(changed)) {
        throw new Error(`${changed.object.metadata.name} was changed before the migrations had ended`);
      }
      if (!jobs.some(({ type }) => type === 'DELETED'))
        throw new Error('the Job that has succeeded is still there');
    },
  };
}

function revisionOf({ object }: Change): number {
  return Number(object.metadata.resourceVersion);
}
