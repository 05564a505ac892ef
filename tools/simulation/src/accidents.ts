/** Processes, what happens to them, and who takes their place. */
import type { Platform, ExecutorHandle } from './services.js';
import { startCollector, startExecutor, startScheduler } from './services.js';
import { Process } from './process.js';

const replicas = 2;
/** About as long as a garbage collection, or a machine that is moved. */
const pausesMs = [200, 4_000, 5_500, 9_000] as const;

interface Member {
  process: Process;
  executor?: ExecutorHandle;
}
type Kind = 'scheduler' | 'collector' | 'executor';

export class Fleet {
  private readonly members: Record<Kind, Member[]> = { scheduler: [], collector: [], executor: [] };
  private started = 0;

  constructor(private readonly platform: Platform) {
    for (const kind of ['scheduler', 'collector', 'executor'] as const) {
      for (let count = 0; count < replicas; count += 1) this.start(kind);
    }
    this.nextAccident();
  }

  /** Whatever was wrong is put right. */
  heal(): void {
    for (const { process } of Object.values(this.members).flat()) {
      process.goOn();
      process.reconnect();
    }
  }

  private nextAccident(): void {
    const { world } = this.platform;
    const inMs = world.faults.accidentInMs();
    if (inMs === undefined) return;
    world.time.after(inMs, () => {
      // Nothing more goes wrong once it was healed.
      if (world.faults.accidentInMs() === undefined) return;
      this.accident();
      this.nextAccident();
    });
  }

  private accident(): void {
    const { world, nats, postgres } = this.platform;
    const { random } = world;
    const kind = random.pick<Kind>(['scheduler', 'collector', 'executor', 'executor']);
    const member = random.pick(this.members[kind]);
    const what = random.integer(12);
    if (what < 3) this.kill(kind, member);
    else if (what < 6) this.pause(member.process);
    else if (what < 8) this.cutOff(member.process);
    else if (what < 10) this.loseWorker();
    else if (what === 10) this.interruptNats();
    else if (random.chance(0.5)) nats.wipe();
    else {
      postgres.registryVersion += 1;
      world.note(`the registry is at ${postgres.registryVersion}`);
    }
  }

  private start(kind: Kind): void {
    const process = new Process(`${kind}-${(this.started += 1)}`, this.platform.world);
    const member: Member = { process };
    if (kind === 'scheduler') startScheduler(this.platform, process);
    else if (kind === 'collector') startCollector(this.platform, process);
    else member.executor = startExecutor(this.platform, process);
    this.members[kind].push(member);
  }

  private kill(kind: Kind, member: Member): void {
    const { world, nats } = this.platform;
    world.note(`${member.process.name} dies`);
    member.process.die();
    this.members[kind].splice(this.members[kind].indexOf(member), 1);
    // The server notices a while later: until then it delivers to nobody.
    world.time.after(world.random.between(0, 2_000), () => nats.forget(member.process));
    this.start(kind);
  }

  private pause(process: Process): void {
    const { world } = this.platform;
    const forMs = world.random.pick(pausesMs);
    world.note(`${process.name} stands still for ${forMs} ms`);
    process.pause();
    world.time.after(forMs, () => process.goOn());
  }

  private cutOff(process: Process): void {
    const { world } = this.platform;
    const forMs = world.random.pick(pausesMs);
    world.note(`${process.name} has no connection for ${forMs} ms`);
    process.disconnect();
    world.time.after(forMs, () => process.reconnect());
  }

  private interruptNats(): void {
    const { world, nats } = this.platform;
    if (world.random.chance(0.5)) return nats.remakeConsumer();
    const processes = Object.values(this.members)
      .flat()
      .map(({ process }) => process);
    for (const process of processes) process.disconnect();
    world.time.after(world.random.between(100, 3_000), () => {
      nats.restart();
      for (const process of processes) process.reconnect();
    });
  }

  private loseWorker(): void {
    const { process, executor } = this.platform.world.random.pick(this.members.executor);
    this.platform.world.note(`${process.name} loses a worker`);
    executor!.workers.loseOne();
  }
}
