/** What comes from outside: events that start runs, what runs wait for, and requests to stop some of them. */
import { createId, deriveRunId, isTerminal, subjects, systemEventNames } from '@ironflow/schema';
import type { RegisteredFunction, Registry, StoredEvent } from '@ironflow/schema';
import type { IronflowFunction } from '@ironflow/sdk';
import { IronflowError } from '@ironflow/errors';
import type { NatsModel } from './nats-model.js';
import type { Oracle } from './oracle.js';
import { eventSubject, scope } from './postgres-model.js';
import type { PostgresModel } from './postgres-model.js';
import type { World } from './process.js';
import { appIds } from './services.js';
import type { AppCode } from './tenant-apps.js';
import { answerAt, defineChild, defineProgram, makePrograms, questionsOf } from './workflows.js';
import type { Program, Question } from './workflows.js';

export interface TenantsOptions {
  world: World;
  oracle: Oracle;
  seed: number;
  nats: () => NatsModel;
  postgres: PostgresModel;
}

/** Functions that an order starts; the last one is registered while runs are under way. */
const functionIds = ['pulled', 'pushed', 'later'] as const;
const appOf = { pulled: appIds.pull, pushed: appIds.push, later: appIds.pull, child: appIds.pull } as const;
const notAsked = (): Promise<never> => Promise.reject(new Error('no function of a simulation asks for it'));
const answersWithinMs = 20_000;
const retryMs = 500;

export class Tenants {
  readonly programs: ReadonlyMap<string, Program>;
  readonly orders: StoredEvent[] = [];
  readonly stopped = new Set<string>();
  /** Of what is still to be sent. */
  pending = 0;

  constructor(private readonly options: TenantsOptions) {
    const programs = makePrograms(options.seed, functionIds.length);
    this.programs = new Map(functionIds.map((id, index) => [id, programs[index]!]));
  }

  readonly code: AppCode = {
    definition: (functionId, { process, runId, writer }) => {
      const { oracle } = this.options;
      const observer = {
        onBegin: (place: string, attempt: number) =>
          oracle.onBegin({ process, runId, place, attempt, writer }),
        onSlept: (stepId: string) => oracle.onSlept(runId, stepId),
      };
      return this.define(functionId, observer);
    },
    platform: (process) => ({
      emit: notAsked,
      topics: { publish: notAsked },
      approvals: { createLink: notAsked },
      secrets: { get: notAsked },
      config: { get: notAsked },
      invoke: async (target, ...[data, given]) => {
        const functionId = typeof target === 'string' ? target : target.id;
        const name = systemEventNames.invoke(functionId);
        const unavailable = (): Error => new IronflowError('unavailable', 'ingest_unavailable', 'no answer');
        const key = given?.idempotencyKey;
        const store = (): StoredEvent => this.emit({ name, data, source: 'invoke', functionId }, key);
        const { id } = await process.query(store, unavailable);
        return { ids: [id] };
      },
    }),
  };

  registry(): Registry {
    const { registryVersion: version } = this.options.postgres;
    const ids = [...functionsAt(version), 'child' as const];
    const functions = ids.map((id): [string, RegisteredFunction] => {
      const { config } = this.define(id)!;
      return [id, { appId: appOf[id], config, hash: id, registeredAtMs: 0 }];
    });
    const apps = [
      { id: appIds.pull, mode: 'pull' as const, url: undefined, signedAnswers: false },
      { id: appIds.push, mode: 'push' as const, url: 'http://simulated', signedAnswers: false },
    ];
    return {
      environmentId: scope.environmentId,
      version,
      apps: new Map(apps.map((app) => [app.id, app])),
      functions: new Map(functions),
      archived: new Map(),
      paused: false,
      pausedFunctions: new Set(),
    };
  }

  start(): void {
    const { random } = this.options.world;
    const orders = 1 + random.integer(2);
    for (let order = 0; order < orders; order += 1) {
      this.later(random.between(0, 3_000), () => this.order(`order ${order}`));
    }
  }

  private define(
    functionId: string,
    observer = { onBegin: () => undefined, onSlept: () => undefined } as Parameters<typeof defineChild>[1],
  ): IronflowFunction | undefined {
    const program = this.programs.get(functionId);
    if (program !== undefined) return defineProgram(functionId, program, observer);
    return functionId === 'child' ? defineChild('child', observer) : undefined;
  }

  private order(key: string): void {
    const { random } = this.options.world;
    // One of each name that came before is none that is meant.
    const early = questionsOf('pulled', this.programs.get('pulled')!)[0];
    if (early?.kind === 'event')
      this.emit({ name: early.name, data: { key, answer: 'too early' }, source: 'http' });
    this.later(1, () => {
      const order = this.emit({ name: 'order.placed', data: { key }, source: 'http' });
      this.orders.push(order);
      for (const functionId of functionIds) {
        const runId = runOf(order, functionId);
        for (const question of questionsOf(functionId, this.programs.get(functionId)!)) {
          this.later(random.between(1, answersWithinMs), () => this.answer(runId, question, key));
        }
        if (random.chance(0.1)) this.later(random.between(0, answersWithinMs), () => this.stop(runId));
      }
    });
  }

  private answer(runId: string, { kind, name, place }: Question, key: string): void {
    const { postgres } = this.options;
    if (kind === 'event') {
      this.emit({ name, data: { key: 'somebody else’s', answer: 'wrong' }, source: 'http' });
      this.emit({ name, data: { key, answer: answerAt(place) }, source: 'http' });
      return;
    }
    const signal = { id: `${runId} ${place}`, runId, name, data: JSON.stringify(answerAt(place)) };
    if (postgres.storeSignal(signal)) this.notify(subjects.waitsNotice(scope, runId), { scope, runId });
    else if (!this.isNever(runId)) this.later(retryMs, () => this.answer(runId, { kind, name, place }, key));
  }

  private stop(runId: string): void {
    const { postgres, world } = this.options;
    const [run] = postgres.requestStop(runId);
    if (run !== undefined) {
      world.note(`somebody asks ${runId.slice(-6)} to stop`);
      this.stopped.add(runId);
      this.notify(subjects.cancellation(scope, runId), run);
    } else if (postgres.runs.get(runId) === undefined && !this.isNever(runId)) {
      this.later(retryMs, () => this.stop(runId));
    }
  }

  /** Its event was routed before its function was registered. */
  private isNever(runId: string): boolean {
    const { oracle, postgres } = this.options;
    const order = this.orders.find((one) => functionIds.some((id) => runOf(one, id) === runId));
    return order !== undefined && oracle.routed.has(order.id) && !postgres.runs.has(runId);
  }

  /** Stored, and published as well as can be: whoever does it may die in between. */
  private emit(
    event: Pick<StoredEvent, 'name' | 'source' | 'functionId'> & { data: unknown },
    key?: string,
  ): StoredEvent {
    const { world, postgres, nats } = this.options;
    const receivedAtMs = Math.floor(world.time.nowMs);
    const random = Uint8Array.from({ length: 10 }, () => world.random.integer(256));
    const id = createId(receivedAtMs, random);
    const { data, ...rest } = event;
    const fresh: StoredEvent = {
      ...rest,
      id,
      scope,
      data: JSON.stringify(data),
      receivedAtMs,
      correlationId: id,
    };
    const stored = postgres.storeEvent(fresh, key);
    world.note(`${stored.name} is stored as ${stored.id}`);
    if (!world.faults.losesNotice()) {
      const headers = { 'Nats-Msg-Id': stored.id };
      this.later(world.random.between(0, 20), () =>
        nats().publish({ subject: eventSubject(stored), data: JSON.stringify(stored), headers }),
      );
    }
    return stored;
  }

  private notify(subject: string, body: unknown): void {
    this.options.nats().notify(subject, JSON.stringify(body));
  }

  private later(delayMs: number, act: () => void): void {
    this.pending += 1;
    this.options.world.time.after(delayMs, () => {
      this.pending -= 1;
      act();
    });
  }
}

export function functionsAt(registryVersion: number) {
  return functionIds.slice(0, registryVersion === 1 ? 2 : 3);
}

export function runOf(event: StoredEvent, functionId: string): string {
  return deriveRunId({ environmentId: scope.environmentId, eventId: event.id, functionId });
}

export function isEnded(postgres: PostgresModel): boolean {
  return [...postgres.runs.values()].every(({ status }) => isTerminal(status));
}
