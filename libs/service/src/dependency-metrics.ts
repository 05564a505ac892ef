/** What a service tells of that which it depends on: its connections to Postgres, and whether all of it answers. */
import type { Database } from '@ironflow/database';
import type { Health } from './health.js';
import type { Metrics, Observation } from './metrics.js';

export function watchPool(metrics: Metrics, database: Pick<Database, 'poolState'>): void {
  const connections = (): Observation<'state'>[] => {
    const { open, idle } = database.poolState();
    return [
      { value: idle, labels: { state: 'idle' } },
      { value: open - idle, labels: { state: 'busy' } },
    ];
  };
  metrics.gauge('database_connections', 'Connections to Postgres, by state', connections, ['state']);
  const waiting = 'Statements and transactions that wait for a connection to Postgres';
  metrics.gauge('database_waiting', waiting, () => database.poolState().waiting);
}

/** As `/readyz` answers: Kubernetes takes a service that is not ready out of its way, but tells nobody. */
export function watchReadiness(metrics: Metrics, health: Health): void {
  metrics.gauge('ready', 'Whether the service is ready', async () =>
    (await health.readiness()).ready ? 1 : 0,
  );
  const checks = async (): Promise<Observation<'check'>[]> =>
    Object.entries((await health.readiness()).checks).map(([check, result]) => ({
      value: result === 'ok' ? 1 : 0,
      labels: { check },
    }));
  metrics.gauge('reachable', 'Whether what the service depends on answers', checks, ['check']);
}
