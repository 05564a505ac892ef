/** Notices of what Postgres accepted: published at most once into PUBSUB or CANCEL, heard as plain messages. */
import {
  accessNoticeSchema,
  circuitNoticeSchema,
  configNoticeSchema,
  eventRoutedNoticeSchema,
  eventScheduledNoticeSchema,
  headerNames,
  parseSubject,
  runNoticeSchema,
  bulkNoticeSchema,
  quotasNoticeSchema,
  slotsNoticeSchema,
  schemaVersion,
  stopNoticeSchema,
  subjectFilters,
  subjects,
  waitsNoticeSchema,
} from '@ironflow/schema';
import type {
  AccessNotice,
  EventRoutedNotice,
  RunNotice,
  RunNoticeKind,
  BulkNotice,
  QuotasNotice,
  SlotsNotice,
  EventScheduledNotice,
  CircuitNotice,
  ConfigNotice,
  StopNotice,
  WaitsNotice,
} from '@ironflow/schema';
import type { Connection } from './connection.js';

export interface Notices {
  publishRun(notice: RunNotice, what: RunNoticeKind): void;
  publishEventRouted(notice: EventRoutedNotice): void;
  publishEventScheduled(notice: EventScheduledNotice): void;
  publishStop(notice: StopNotice): void;
  publishWaits(notice: WaitsNotice): void;
  publishSlots(notice: SlotsNotice): void;
  publishBulk(notice: BulkNotice): void;
  publishQuotas(notice: QuotasNotice): void;
  publishExecutor(): void;
  publishCircuit(notice: CircuitNotice): void;
  publishAccess(notice: AccessNotice): void;
  publishConfig(notice: ConfigNotice): void;
  /**
   * With a queue, one member of it hears each notice; without, everybody hears all. `wants` is asked by the run's id
   * before anything is parsed.
   */
  onRun(
    filter: string,
    listener: (notice: RunNotice) => void,
    queue?: string,
    wants?: (runId: string) => boolean,
  ): () => void;
  onEventRouted(
    filter: string,
    listener: (notice: EventRoutedNotice) => void,
    wants?: (eventId: string) => boolean,
  ): () => void;
  /** Of every environment; with a queue, one member of it hears each. */
  onStop(listener: (notice: StopNotice) => void, queue?: string): () => void;
  /** Of every environment; one member of the queue hears each. */
  onWaits(listener: (notice: WaitsNotice) => void, queue: string): () => void;
  /** The same. */
  onSlots(listener: (notice: SlotsNotice) => void, queue: string): () => void;
  onCircuit(listener: (notice: CircuitNotice) => void, queue: string): () => void;
  /** Everybody hears all. */
  onConfig(listener: (notice: ConfigNotice) => void): () => void;
  onBulk(listener: (notice: BulkNotice) => void): () => void;
  /** Of every environment. */
  onQuotas(listener: (notice: QuotasNotice) => void): () => void;
  onExecutor(listener: () => void): () => void;
  onAccess(listener: (notice: AccessNotice) => void): () => void;
  onEventScheduled(listener: (notice: EventScheduledNotice) => void, queue: string): () => void;
}

const headers = { [headerNames.schemaVersion]: schemaVersion };

export function createNotices(connection: Connection): Notices {
  const listen = <T>(
    { filter, queue, wants }: Hearing,
    parse: (body: unknown) => { success: boolean; data?: T },
    listener: (notice: T) => void,
  ): (() => void) => {
    const hear = (message: Heard): void => {
      if (wants?.(subjectIdOf(message.subject)) === false) return;
      // What is not JSON throws, and is logged by its subject alone.
      const parsed = parse(message.json());
      if (parsed.success && parsed.data !== undefined) listener(parsed.data);
    };
    return connection.listen(filter, hear, queue);
  };
  const tell = (subject: string, notice: object): void =>
    connection.publish({ subject, data: JSON.stringify(notice), headers });
  return {
    publishRun: (notice, what) => tell(subjects.runNotice(notice.scope, notice.runId, what), notice),
    publishEventRouted: (notice) => tell(subjects.eventRoutedNotice(notice.scope, notice.eventId), notice),
    publishEventScheduled: (notice) =>
      tell(subjects.eventScheduledNotice(notice.scope, notice.eventId), notice),
    publishStop: (notice) => tell(subjects.cancellation(notice.scope, notice.runId), notice),
    publishWaits: (notice) => tell(subjects.waitsNotice(notice.scope, notice.runId), notice),
    publishSlots: (notice) => tell(subjects.slotsNotice(notice.scope, notice.scope.environmentId), notice),
    publishExecutor: () => connection.publish({ subject: subjects.executorNotice, data: '', headers }),
    publishAccess: (notice) => tell(subjects.accessNotice, notice),
    onAccess: (listener) =>
      listen({ filter: subjects.accessNotice }, (body) => accessNoticeSchema.safeParse(body), listener),
    onExecutor: (listener) => connection.listen(subjects.executorNotice, () => listener()),
    publishBulk: (notice) => tell(subjects.bulkNotice(notice.scope, notice.scope.environmentId), notice),
    publishQuotas: (notice) => tell(subjects.quotasNotice(notice.scope, notice.scope.environmentId), notice),
    onQuotas: (listener) =>
      listen(
        { filter: subjectFilters.everyQuotasNotice },
        (body) => quotasNoticeSchema.safeParse(body),
        listener,
      ),
    onBulk: (listener) =>
      listen(
        { filter: subjectFilters.everyBulkNotice },
        (body) => bulkNoticeSchema.safeParse(body),
        listener,
      ),
    onSlots: (listener, queue) =>
      listen(
        { filter: subjectFilters.everySlotsNotice, queue },
        (body) => slotsNoticeSchema.safeParse(body),
        listener,
      ),
    publishConfig: (notice) => tell(subjects.configNotice(notice.scope, notice.scope.environmentId), notice),
    onConfig: (listener) =>
      listen(
        { filter: subjectFilters.everyConfigNotice },
        (body) => configNoticeSchema.safeParse(body),
        listener,
      ),
    publishCircuit: (notice) =>
      tell(subjects.circuitNotice(notice.scope, notice.circuitId, notice.change), notice),
    onCircuit: (listener, queue) =>
      listen(
        { filter: subjectFilters.everyCircuitNotice, queue },
        (body) => circuitNoticeSchema.safeParse(body),
        listener,
      ),
    onWaits: (listener, queue) =>
      listen(
        { filter: subjectFilters.everyWaitsNotice, queue },
        (body) => waitsNoticeSchema.safeParse(body),
        listener,
      ),
    onEventScheduled: (listener, queue) =>
      listen(
        { filter: subjectFilters.everyEventScheduledNotice, queue },
        (body) => eventScheduledNoticeSchema.safeParse(body),
        listener,
      ),
    onStop: (listener, queue) =>
      listen(
        { filter: subjectFilters.everyCancellation, queue },
        (body) => stopNoticeSchema.safeParse(body),
        listener,
      ),
    onRun: (filter, listener, queue, wants) =>
      listen({ filter, queue, wants }, (body) => runNoticeSchema.safeParse(body), listener),
    onEventRouted: (filter, listener, wants) =>
      listen({ filter, wants }, (body) => eventRoutedNoticeSchema.safeParse(body), listener),
  };
}

interface Hearing {
  filter: string;
  queue?: string | undefined;
  wants?: ((id: string) => boolean) | undefined;
}

interface Heard {
  subject: string;
  json(): unknown;
}

/** Of the run or event that a notice is about. */
function subjectIdOf(subject: string): string {
  const parsed = parseSubject(subject);
  if (parsed?.kind === 'runNotice') return parsed.runId;
  return parsed?.kind === 'eventRoutedNotice' ? parsed.eventId : '';
}
