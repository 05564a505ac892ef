/**
 * What must hold whatever goes wrong (the invariants of docs/architecture.md), looked at from outside: from what is stored,
 * begun, answered and accepted, and never from what production says of itself.
 */
import { ackWaitMs, isTerminal, journalMessageSchema } from '@ironflow/schema';
import type { JournalMessage, JournaledStep, StoredEvent, StreamName, Writer } from '@ironflow/schema';
import type { RunProgress } from '@ironflow/database';
import type { DeliveryRecord } from './consumer-model.js';
import type { NatsObserver } from './nats-model.js';
import { keyOf } from './postgres-model.js';
import type { PostgresModel, PostgresObserver, RunRow } from './postgres-model.js';
import type { Process } from './process.js';
import type { StoredMessage } from './stream-model.js';
import { placeOf } from './workflows.js';

/** A record that RESULTS has, until a wipe takes it before Postgres does. */
interface Recorded {
  sequence: number;
  atMs: number;
  status: JournaledStep['status'];
  attempt: number;
}

export interface OracleOptions {
  nowMs: () => number;
  note: (line: string) => void;
}

export class Oracle implements NatsObserver, PostgresObserver {
  readonly violations: string[] = [];
  postgres!: PostgresModel;
  /** Every journal message that was ever stored, by sequence: sequences are given out once. */
  private readonly journal = new Map<number, JournalMessage>();
  private readonly recorded = new Map<string, Recorded[]>();
  /** A durable that was made anew counts deliveries from 1 again: there may be several of one name. */
  private readonly activations = new Map<string, DeliveryRecord[]>();
  private readonly ended = new Map<string, string>();
  /** The registry that each event was routed with. */
  readonly routed = new Map<string, number>();

  constructor(private readonly options: OracleOptions) {}

  violate(invariant: string, what: string): void {
    const line = `${invariant}: ${what}`;
    this.options.note(`VIOLATION ${line}`);
    this.violations.push(line);
  }

  onStored({ sequence, data }: StoredMessage, stream: StreamName): void {
    if (stream !== 'RESULTS') return;
    const message = journalMessageSchema.parse(JSON.parse(data));
    this.journal.set(sequence, message);
    const what = message.entries.map(briefly).join(', ');
    this.options.note(`stored ${shortly(message.runId)} #${sequence} after ${message.prev}: ${what}`);
    for (const entry of message.entries) {
      if (entry.type !== 'step') continue;
      const { status, attempt } = entry.step;
      const key = keyOf(message.runId, placeOfRecord(entry.step) ?? entry.step.id);
      const list = this.recorded.get(key) ?? [];
      list.push({ sequence, atMs: this.options.nowMs(), status, attempt });
      this.recorded.set(key, list);
    }
  }

  onWiped(): void {
    for (const [key, list] of this.recorded) {
      const accepted = this.postgres.runs.get(key.split(' ')[0]!)?.journalSeq ?? 0;
      this.recorded.set(
        key,
        list.filter(({ sequence }) => sequence <= accepted),
      );
    }
  }

  /**
   * Trimmed is what Postgres has, or will never take: what follows none that it has. That may be a whole branch, where a
   * collector applied what it still had in hand from before a wipe, and executors had gone on from an older position.
   */
  onPurged(messages: StoredMessage[]): void {
    for (const { sequence } of messages) {
      const run = this.postgres.runs.get(this.journal.get(sequence)!.runId)!;
      const isOver =
        sequence <= run.journalSeq ||
        isTerminal(run.status) ||
        this.chainTo(sequence, run.journalSeq) === undefined;
      if (!isOver) this.violate('trim', `#${sequence} of ${shortly(run.id)} is gone before Postgres has it`);
    }
  }

  onArrival(
    stream: StreamName,
    delivery: DeliveryRecord,
    { sequence, data }: StoredMessage,
    deliveries: number,
  ): void {
    if (stream !== 'STEPS') return;
    const { runId } = JSON.parse(data) as { runId: string };
    this.options.note(
      `${delivery.process.name} takes ${shortly(runId)} (${sequence}, delivery ${deliveries})`,
    );
    const name = `${delivery.process.name} ${sequence} ${deliveries}`;
    this.activations.set(name, [...(this.activations.get(name) ?? []), delivery]);
  }

  onAnswer(stream: StreamName, delivery: DeliveryRecord, what: string, { data }: StoredMessage): void {
    if (stream !== 'STEPS') return;
    const { runId } = JSON.parse(data) as { runId: string };
    this.options.note(`${delivery.process.name} answers ${what} for ${shortly(runId)}`);
    this.mayStillSpeak(delivery, what);
  }

  onAppend(process: Process, data: string): void {
    const { writer } = JSON.parse(data) as JournalMessage;
    const [newest] = this.deliveriesOf(process.name, writer).sort(
      (a, b) => b.confirmedAtMs - a.confirmedAtMs,
    );
    if (newest !== undefined) this.mayStillSpeak(newest, 'an append');
  }

  /**
   * What was recorded before this activation was delivered is known to it. What another one records meanwhile may not be:
   * that is the step in flight, which may run again.
   */
  onBegin(of: { process: string; runId: string; place: string; attempt: number; writer: Writer }): void {
    const { process, runId, place, attempt, writer } = of;
    const by = `${writer.activation}, delivery ${writer.delivery}, of ${writer.executor}`;
    this.options.note(`${process} begins ${place} of ${shortly(runId)}, attempt ${attempt} (${by})`);
    const [oldest, namesake] = this.deliveriesOf(executorOf(writer), writer);
    // With several of one name it is not known whose a record is.
    const isOwn = (sequence: number): boolean =>
      namesake === undefined && isOf(this.journal.get(sequence)!.writer, writer);
    const known = (this.recorded.get(keyOf(runId, place)) ?? []).filter(
      ({ atMs, sequence }) => atMs < (oldest?.arrivedAtMs ?? 0) || isOwn(sequence),
    );
    const before = known.find(
      (record) => record.attempt >= attempt && this.isOnChain(runId, record.sequence),
    );
    if (before === undefined) return;
    this.violate(
      'I3',
      `${place} of ${shortly(runId)} begins again after #${before.sequence} (${before.status})`,
    );
  }

  onAccepted(run: RunRow, progress: RunProgress): void {
    const messages = this.chainTo(progress.journalSeq, progress.prev);
    this.options.note(
      `Postgres accepts ${shortly(run.id)} ${progress.prev} → ${progress.journalSeq} ${progress.status ?? ''}`,
    );
    if (messages === undefined) {
      this.violate('I4', `#${progress.journalSeq} of ${shortly(run.id)} does not follow ${progress.prev}`);
      return;
    }
    const recorded = new Set(
      messages.flatMap(({ entries }) =>
        entries.flatMap((entry) => (entry.type === 'step' ? `${entry.step.attempt} ${entry.step.id}` : [])),
      ),
    );
    const taken = new Set(progress.steps.map(({ attempt, id }) => `${attempt} ${id}`));
    const isSame = recorded.size === taken.size && [...taken].every((step) => recorded.has(step));
    if (!isSame)
      this.violate('I4', `${shortly(run.id)} took ${[...taken].join()} where ${[...recorded].join()} stands`);
  }

  onDue(run: RunRow, stepId: string, dueAtMs: number): void {
    this.options.note(`${stepId === '' ? 'the retry' : stepId} of ${shortly(run.id)} is due`);
    if (dueAtMs > this.options.nowMs()) this.violate('I7', `a timer of ${shortly(run.id)} fired early`);
  }

  onRouted({ id, name }: StoredEvent, registryVersion: number): void {
    this.options.note(`${name} is routed by registry ${registryVersion}`);
    if (this.routed.has(id)) this.violate('I2', `the event ${id} was routed twice`);
    this.routed.set(id, registryVersion);
  }

  /** A function went past its sleep. */
  onSlept(runId: string, stepId: string): void {
    const sleep = this.postgres.steps.get(runId)?.get(stepId)?.[0];
    // One that was over before it began is recorded as it is, and Postgres may not have it yet.
    if (sleep?.dueAtMs !== undefined && this.options.nowMs() < sleep.dueAtMs) {
      this.violate('I7', `${stepId} of ${shortly(runId)} ended before its time`);
    }
  }

  /** To be asked after every event: what has ended stays as it is. */
  checkFinal(): void {
    for (const run of this.postgres.runs.values()) {
      if (!isTerminal(run.status)) continue;
      const now = `${run.status} ${run.journalSeq} ${run.output ?? ''}`;
      const before = this.ended.get(run.id) ?? now;
      this.ended.set(run.id, now);
      if (before !== now) this.violate('I5', `${shortly(run.id)} was ${before} and became ${now}`);
    }
  }

  private deliveriesOf(executor: string, { activation, delivery }: Writer): DeliveryRecord[] {
    return [...(this.activations.get(`${executor} ${activation} ${delivery}`) ?? [])];
  }

  private mayStillSpeak({ process, confirmedAtMs }: DeliveryRecord, what: string): void {
    const silentMs = this.options.nowMs() - confirmedAtMs;
    // Production's clocks show whole milliseconds.
    if (silentMs < ackWaitMs + 1) return;
    this.violate(
      'fencing',
      `${process.name} sends ${what} ${Math.round(silentMs)} ms after its last sign of life`,
    );
  }

  private isOnChain(runId: string, sequence: number): boolean {
    const run = this.postgres.runs.get(runId)!;
    if (sequence > run.journalSeq) return this.chainTo(sequence, run.journalSeq) !== undefined;
    return this.chainTo(run.journalSeq, sequence) !== undefined || sequence === run.journalSeq;
  }

  /** The messages after `from` up to `to`, by what each says that it follows. */
  private chainTo(to: number, from: number): JournalMessage[] | undefined {
    const messages: JournalMessage[] = [];
    for (let at = to; at !== from;) {
      const message = this.journal.get(at);
      if (message === undefined || at < from) return undefined;
      messages.unshift(message);
      at = message.prev;
    }
    return messages;
  }
}

export function shortly(runId: string): string {
  return runId.slice(-6);
}

function placeOfRecord(step: JournaledStep): string | undefined {
  return placeOf('error' in step ? step.error.message : 'output' in step ? step.output : undefined);
}

function executorOf({ executor }: Writer): string {
  return executor.split('.')[0]!;
}

function isOf(a: Writer, b: Writer): boolean {
  return a.activation === b.activation && a.delivery === b.delivery && a.executor === b.executor;
}

function briefly(entry: JournalMessage['entries'][number]): string {
  return entry.type === 'run'
    ? entry.run.kind
    : `${entry.step.id}/${entry.step.attempt} ${entry.step.status}`;
}
