/**
 * A server that an earlier launcher left running on the same folder. Two servers on one folder would destroy it, so
 * before a start the predecessor is looked for: one whose launcher is gone is ended, one in use is reported.
 *
 * A process id alone says nothing after a reboot or a kill -9, ids are used again. A predecessor is believed only when
 * its command line names our folder, its launcher only when it is still that process's parent.
 */
import { IronflowError } from '@ironflow/errors';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually } from './eventually.js';

export type Predecessor =
  { state: 'none' } | { state: 'orphan'; pid: number } | { state: 'in_use'; pid: number };

const launcherEndMsMax = 500;

/** Remembers who started which server; written after each start. */
export function writeLaunchNote(path: string, serverPid: number): void {
  writeFileSync(path, JSON.stringify({ serverPid, launcherPid: process.pid }));
}

export interface FindPredecessorOptions {
  /** Where the note is. */
  notePath: string;
  /** The server's id where the server itself has left it; else the note's. */
  serverPid?: number | undefined;
  /** What its command line must contain. */
  commandIncludes: readonly string[];
}

export function findPredecessor(options: FindPredecessorOptions): Predecessor {
  const note = readLaunchNote(options.notePath);
  const pid = options.serverPid ?? note?.serverPid;
  const running = pid === undefined ? undefined : describeProcess(pid);
  if (pid === undefined || running === undefined) return { state: 'none' };
  if (!options.commandIncludes.every((part) => running.command.includes(part))) return { state: 'none' };
  const hasLauncher = note === undefined || note.serverPid !== pid || note.launcherPid === running.parentPid;
  return { state: hasLauncher ? 'in_use' : 'orphan', pid };
}

export interface SettlePredecessorOptions extends FindPredecessorOptions {
  /** For the message. */
  server: string;
  folder: string;
  stopSignal: NodeJS.Signals;
  stopPatienceMs: number;
}

/** Returns when no server runs on the folder; throws when one does and somebody looks after it. */
export async function settlePredecessor(options: SettlePredecessorOptions): Promise<void> {
  const { server, folder, stopSignal, stopPatienceMs } = options;
  // A launcher that was killed this instant needs one more to be gone.
  const deadlineMs = performance.now() + launcherEndMsMax;
  let predecessor = findPredecessor(options);
  while (predecessor.state === 'in_use' && performance.now() < deadlineMs) {
    await delay(20);
    predecessor = findPredecessor(options);
  }
  if (predecessor.state === 'orphan') await endOrphan(predecessor.pid, stopSignal, stopPatienceMs);
  if (predecessor.state !== 'in_use') return;
  const message = `${server} (process ${predecessor.pid}) already runs on ${folder}; stop what started it`;
  throw new IronflowError('unavailable', 'data_folder_in_use', message);
}

/** Asks it to end and insists after `patienceMs`. */
export async function endOrphan(pid: number, signal: NodeJS.Signals, patienceMs: number): Promise<void> {
  const checkGone = () => {
    if (describeProcess(pid) !== undefined) throw new Error(`process ${pid} still runs`);
  };
  send(pid, signal);
  try {
    await eventually(checkGone, { timeoutMs: patienceMs, intervalMs: 20 });
  } catch {
    send(pid, 'SIGKILL');
    await eventually(checkGone, { intervalMs: 20 });
  }
}

function readLaunchNote(path: string): { serverPid: number; launcherPid: number } | undefined {
  try {
    const note = JSON.parse(readFileSync(path, 'utf8')) as { serverPid: number; launcherPid: number };
    return Number.isInteger(note.serverPid) && Number.isInteger(note.launcherPid) ? note : undefined;
  } catch {
    // Absent at the first start, cut short by a crash: either way nothing is known.
    return undefined;
  }
}

interface RunningProcess {
  parentPid: number;
  command: string;
}

/** Undefined when there is no such process, or one that has ended and only waits to be collected. */
function describeProcess(pid: number): RunningProcess | undefined {
  // Small container images have no ps, machines without /proc (macOS) have one.
  return process.platform === 'linux' ? describeFromProc(pid) : describeFromPs(pid);
}

function describeFromProc(pid: number): RunningProcess | undefined {
  try {
    // The name in parentheses may contain anything; state and parent follow its end.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, parentPid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return undefined;
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return { parentPid: Number(parentPid), command };
  } catch {
    return undefined;
  }
}

function describeFromPs(pid: number): RunningProcess | undefined {
  try {
    const columns = ['-o', 'ppid=', '-o', 'stat=', '-o', 'command=', '-ww'];
    const line = execFileSync('ps', ['-p', String(pid), ...columns], { encoding: 'utf8', stdio: 'pipe' });
    const match = /^\s*(\d+)\s+(\S+)\s+(.*)$/.exec(line.trimEnd());
    if (match === null || match[2]?.startsWith('Z')) return undefined;
    return { parentPid: Number(match[1]), command: match[3] ?? '' };
  } catch {
    return undefined;
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone meanwhile.
  }
}
