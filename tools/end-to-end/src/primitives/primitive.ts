/**
 * The table of primitives: each in each mode and each case, or why there is no such case. One platform a group of them, and
 * one app a mode, as a process that can be killed. The names of the tests are the cells that the reporter reads.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { deriveRunId } from '@ironflow/schema';
import type { RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from '../platform-under-test.js';
import type { PlatformUnderTest, Tenant } from '../platform-under-test.js';
import { createAppProcess } from './app-process.js';
import type { AppProcess, Mode } from './app-process.js';
import { caseNames, modes, primitiveNames } from './names.mjs';

export interface Primitive {
  /** One of `primitiveNames`. */
  name: string;
  /**
   * `crash`: the process that drives the run is killed (-9) while the primitive is under way; the run ends as it would
   * have, and nothing that was recorded is done again.
   */
  cases: Record<(typeof caseNames)[number], Case | Record<Mode, Case>>;
}

type Case = CaseBody | NotApplicable;
type CaseBody = (world: CaseWorld) => Promise<void>;
interface NotApplicable {
  why: string;
}

/** One sentence, which the table shows. */
export function notApplicable(why: string): NotApplicable {
  return { why };
}

export interface CaseWorld {
  mode: Mode;
  tenant: Tenant;
  app: AppProcess;
  /** As the owner of the database. */
  query: (text: string, values?: unknown[]) => Promise<unknown[]>;
  /** Starts the function of that name of this mode's app; answers with the id of its run. */
  start: (name: string, data?: object) => Promise<string>;
  run: (name: string, data?: object) => Promise<RunDetail>;
  ended: (runId: string) => Promise<RunDetail>;
  /** Until it has such a step. */
  has: (runId: string, step: { id: string; status: string }) => Promise<RunDetail>;
  waiting: (runId: string) => Promise<void>;
  /** Kills the app, does something while it is away, starts it again; answers with the run as it ended. */
  crash: (runId: string, meanwhile?: () => Promise<unknown>) => Promise<RunDetail>;
  /** Cancels the run, and checks that it stops there and leaves nothing behind. */
  cancel: (runId: string) => Promise<RunDetail>;
  nothingLeft: (runId: string) => Promise<void>;
}

/** `group`: whose functions are in `<group>-functions.mjs`. */
export function describePrimitives(group: string, primitives: readonly Primitive[]): void {
  let platform: PlatformUnderTest;
  const apps = {} as Record<Mode, AppProcess>;

  beforeAll(async () => {
    platform = await startPlatformUnderTest({
      // A push call that is lost is not repeated before its deadline.
      IRONFLOW_PUSH_DEADLINE_MS: '2500',
      IRONFLOW_SWEEP_INTERVAL_MS: '1000',
      // An app that is away is not what these tests are about.
      IRONFLOW_BREAKER_CONSECUTIVE_FAILURES: '1000',
      IRONFLOW_BREAKER_MINIMUM_CALLS: '100000',
    });
    for (const mode of modes) {
      apps[mode] = await createAppProcess(platform.tenant, { mode, group });
      await apps[mode].start();
    }
  }, 60_000);
  // What a test that failed has left held must not hold up the next.
  afterEach(() => Object.values(apps).forEach((app) => app.letGoAll()));
  afterAll(async () => {
    await Promise.all(Object.values(apps).map((app) => app.kill()));
    await platform?.stop();
  }, 30_000);

  describe('primitives', () => {
    for (const { name, cases } of primitives) {
      if (!primitiveNames.includes(name)) throw new Error(`${name} is not in names.mjs`);
      for (const mode of modes) {
        for (const caseName of caseNames) {
          const declared = cases[caseName];
          const chosen = 'push' in declared ? declared[mode] : declared;
          const cell = `${name} × ${mode} × ${caseName}`;
          if ('why' in chosen) test(`${cell} cannot exist: ${chosen.why}`, () => undefined);
          else test(cell, () => chosen(createCaseWorld(platform, apps[mode])), 45_000);
        }
      }
    }
  });
}

function createCaseWorld(platform: PlatformUnderTest, app: AppProcess): CaseWorld {
  const { tenant } = platform;
  const { client, environmentId } = tenant;
  const query: CaseWorld['query'] = (text, values) => platform.query(text, values);
  const start: CaseWorld['start'] = async (name, data = {}) => {
    const functionId = `${app.mode}-${name}`;
    const { ids } = await client.invoke(functionId, data);
    return deriveRunId({ environmentId, eventId: ids[0]!, functionId });
  };
  const ended: CaseWorld['ended'] = (runId) => tenant.ended(runId, 30_000);
  const nothingLeft: CaseWorld['nothingLeft'] = async (runId) => {
    for (const table of ['waits', 'timers', 'signals']) {
      expect(await query(`select from ${table} where run_id = $1`, [runId])).toEqual([]);
    }
  };
  const has: CaseWorld['has'] = (runId, step) =>
    eventually(
      async () => {
        const run = await client.runs.get(runId);
        expect(run.steps).toContainEqual(expect.objectContaining(step));
        return run;
      },
      { timeoutMs: 15_000, intervalMs: 25 },
    );
  return {
    mode: app.mode,
    tenant,
    app,
    query,
    start,
    run: async (name, data) => ended(await start(name, data)),
    ended,
    has,
    waiting: (runId) =>
      eventually(async () => expect((await client.runs.get(runId)).status).toBe('waiting'), {
        timeoutMs: 15_000,
        intervalMs: 25,
      }),
    crash: async (runId, meanwhile) => {
      const recorded = await completedSteps(tenant, runId);
      expect(recorded).toContain('before');
      await app.kill();
      await meanwhile?.();
      await app.start();
      const run = await ended(runId);
      expect(recorded.filter((id) => app.begun(runId, id) > 1)).toEqual([]);
      await nothingLeft(runId);
      return run;
    },
    cancel: async (runId) => {
      const recorded = await completedSteps(tenant, runId);
      await client.runs.cancel(runId);
      const run = await ended(runId);
      expect(run.status).toBe('cancelled');
      expect(await completedSteps(tenant, runId)).toEqual(expect.arrayContaining(recorded));
      expect(app.begun(runId, 'after')).toBe(0);
      await nothingLeft(runId);
      return run;
    },
    nothingLeft,
  };
}

/** `before` is recorded once the primitive is under way, but read from Postgres, where it comes a moment later. */
async function completedSteps(tenant: Tenant, runId: string): Promise<string[]> {
  return eventually(async () => {
    const { steps } = await tenant.client.runs.get(runId);
    const completed = steps.filter(({ status }) => status === 'completed').map(({ id }) => id);
    expect(completed).toContain('before');
    return completed;
  });
}
