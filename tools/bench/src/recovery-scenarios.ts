/** Scenarios of recovery: how soon what was under way begins again after a kill, with others there to take it over. */
import { readAcceptedSteps } from './journal-times.js';
import type { Scenario } from './scenarios.js';

export const recoveryScenarios: Scenario[] = [
  {
    name: 'recovery-worker',
    replicas: 1,
    workers: 2,
    recovery: { withinMs: 1_000, of: ['pull'] },
    inject: async ({ worker }) => {
      const struckAtMs = Date.now();
      await worker().end('SIGKILL');
      return { fault: 'kill -9 of one worker of two', struckAtMs };
    },
  },
  {
    name: 'recovery-executor',
    replicas: 2,
    workers: 2,
    recovery: { withinMs: 10_000, of: ['pull', 'push'] },
    inject: async ({ platform }) => {
      const struckAtMs = Date.now();
      await platform.fleet!.of('executor')[0]!.kill();
      return { fault: 'kill -9 of one executor of two', struckAtMs };
    },
  },
  {
    name: 'everything',
    replicas: 2,
    workers: 2,
    inject: async (scene) => {
      const { members } = scene.platform.fleet!;
      const { nats, postgres } = scene.platform.servers;
      await Promise.all([
        ...members.map((member) => member.kill()),
        ...scene.apps().map((app) => app.end('SIGKILL')),
        nats!.kill(),
      ]);
      // Nobody writes any more.
      const accepted = await readAcceptedSteps(scene.database);
      await postgres!.kill();
      await Promise.all([postgres!.restart(), nats!.restart({ wipe: true })]);
      await members[0]!.start();
      await Promise.all(members.slice(1).map((member) => member.start()));
      await scene.restartApps();
      return { fault: 'kill -9 of every process, NATS wiped', accepted };
    },
  },
];
