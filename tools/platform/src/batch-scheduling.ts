/**
 * How Linux shares the cores among the local platform's processes. By default whoever receives a message interrupts whoever is
 * working, about ten times a run, so that each does little at a time with cold caches. Under SCHED_BATCH (sched(7)) a process
 * takes its turn instead: batches get larger and a run costs about a tenth less CPU when the cores are busy, and nothing else
 * changes when they are not. It also keeps the platform from interrupting the programs of its user.
 */
import { execFile } from 'node:child_process';

export type Scheduling = 'batch' | 'default';

/**
 * For this process and those it starts from now on, for which no privilege is needed; node has no call of its own for it.
 * Without `chrt` (util-linux), or off Linux, everything stays as it is.
 */
export function scheduleAsBatch(env: NodeJS.ProcessEnv): Promise<Scheduling> {
  if (process.platform !== 'linux') return Promise.resolve('default');
  return new Promise((resolve) => {
    execFile('chrt', ['--batch', '--pid', '0', String(process.pid)], { env }, (error) =>
      resolve(error === null ? 'batch' : 'default'),
    );
  });
}
