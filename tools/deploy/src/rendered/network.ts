/**
 * Pods with addresses of their own: a network namespace for each, on a bridge. The process that makes them is in a namespace of its own
 * already (private-namespace.ts), so nothing of it is seen from the machine, nor left when it ends.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface PodNetwork {
  /** Where pods reach this process, and what it runs. */
  readonly hostAddress: string;
  /** The range of all pods and of this process. */
  readonly range: string;
  /** The same for a name each time; the pod may not run yet. */
  addressOf(pod: string): string;
  /** Resolves with the namespace. */
  add(pod: string): Promise<string>;
  remove(pod: string): Promise<void>;
}

const run = promisify(execFile);
const ip = async (...args: string[]): Promise<void> => void (await run('ip', args));
const bridge = 'pods';

export async function createPodNetwork(): Promise<PodNetwork> {
  const hostAddress = '10.77.0.1';
  // Namespaces are kept by name in /run, and in a /run of our own go with us.
  await run('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', bridge, 'type', 'bridge');
  await ip('address', 'add', `${hostAddress}/16`, 'dev', bridge);
  await ip('link', 'set', bridge, 'up');
  const known: string[] = [];
  // The link of a pod that is gone may be there for a moment longer.
  let links = 0;
  const numberOf = (pod: string): number => {
    if (!known.includes(pod)) known.push(pod);
    return known.indexOf(pod) + 1;
  };
  const addressOf = (pod: string): string => {
    const number = numberOf(pod);
    return `10.77.${1 + Math.floor(number / 250)}.${1 + (number % 250)}`;
  };
  return {
    hostAddress,
    range: '10.77.0.0/16',
    addressOf,
    add: async (pod) => {
      const outside = `pod${(links += 1)}`;
      await ip('netns', 'add', pod);
      await ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pod);
      await ip('link', 'set', outside, 'master', bridge, 'up');
      await ip('-netns', pod, 'address', 'add', `${addressOf(pod)}/16`, 'dev', 'eth0');
      await ip('-netns', pod, 'link', 'set', 'eth0', 'up');
      await ip('-netns', pod, 'link', 'set', 'lo', 'up');
      return `/run/netns/${pod}`;
    },
    // The link goes with it.
    remove: (pod) => ip('netns', 'delete', pod),
  };
}
