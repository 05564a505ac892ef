import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from '@jest/globals';
import { scheduleAsBatch } from './batch-scheduling.js';

const run = promisify(execFile);
/** Of sched(7). */
const policies = { default: '0', batch: '3' } as const;

/** The 41st field of proc_pid_stat(5); the second, the program's name, has no blank here. */
async function policyOfChild(): Promise<string | undefined> {
  const { stdout } = await run('cat', ['/proc/self/stat']);
  return stdout.split(' ')[40];
}

const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('scheduling as batch', () => {
  afterAll(async () => {
    await run('chrt', ['--other', '--pid', '0', String(process.pid)]).catch(() => undefined);
  });

  it('changes nothing where there is no chrt', async () => {
    const before = await policyOfChild();
    expect(await scheduleAsBatch({ PATH: '/nowhere' })).toBe('default');
    expect(await policyOfChild()).toBe(before);
  });

  it('says what the processes started from then on run under', async () => {
    const scheduling = await scheduleAsBatch(process.env);
    expect(await policyOfChild()).toBe(policies[scheduling]);
  });
});
