/**
 * How a container is started on this machine: in namespaces of its own, with a root folder that has the machine's programs, the image's
 * tree and the pod's files, and as a user without any right. The text of a shell script, so that it can be read and tested.
 */
import type { Mount, PodContainer } from './pods.js';

export interface SandboxOptions {
  container: PodContainer;
  image: LocalImage;
  /** An empty folder, on which the container's root is put. */
  root: string;
  /** Where the contents of Secrets and ConfigMaps lie, one folder for each mount, in the order of mounts. */
  filesFolder: string;
  /** Where a volume claim is kept. */
  claimFolder: (claim: string) => string;
  hostsFile: string;
}

export interface LocalImage {
  /** What `/app` has; absent for a program of the machine. */
  tree: string | undefined;
  /** Programs that are put on the PATH, by the names that they have there. */
  programs: Record<string, string>;
  /** What is started when the container names no command. */
  entrypoint: readonly string[];
  env: Record<string, string>;
}

const programFolder = '/opt/bin';
const containerPath = `${programFolder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/** Of process 1 of the container; without what the machine's shell has. */
export function containerEnv({ env }: PodContainer, image: LocalImage): Record<string, string> {
  return { PATH: containerPath, ...image.env, ...env };
}

export function commandOf({ command, args }: PodContainer, image: LocalImage): string[] {
  return [...(command ?? image.entrypoint), ...args];
}

export function sandboxScript(options: SandboxOptions): string {
  const { container, image, root } = options;
  const at = (path: string): string => quote(`${root}${path}`);
  const readOnly = (from: string, path: string): string[] => [
    `mount --bind ${quote(from)} ${at(path)}`,
    `mount -o remount,bind,ro ${at(path)}`,
  ];
  const file = (from: string, path: string): string[] => [`touch ${at(path)}`, ...readOnly(from, path)];
  return [
    'set -eu',
    'umask 022',
    'mount --make-rprivate /',
    `mount -t tmpfs -o mode=0755 tmpfs ${quote(root)}`,
    `mkdir -p ${['/usr', '/proc', '/dev', '/tmp', '/etc', programFolder].map(at).join(' ')}`,
    ...readOnly('/usr', '/usr'),
    // As on the machine, where they are links into /usr.
    `for link in bin sbin lib lib64; do if [ -e /$link ]; then ln -s usr/$link ${quote(root)}/$link; fi; done`,
    `mount -t proc proc ${at('/proc')}`,
    ...['null', 'zero', 'random', 'urandom'].flatMap((device) => [
      `touch ${at(`/dev/${device}`)}`,
      `mount --bind /dev/${device} ${at(`/dev/${device}`)}`,
    ]),
    ...file(options.hostsFile, '/etc/hosts'),
    ...Object.entries(image.programs).flatMap(([name, path]) => file(path, `${programFolder}/${name}`)),
    ...(image.tree === undefined ? [] : [`mkdir ${at('/app')}`, ...readOnly(image.tree, '/app')]),
    ...container.mounts.flatMap((mount, index) => mountLines(mount, index, options)),
    ...(container.isRootReadOnly ? [`mount -o remount,ro ${quote(root)}`] : []),
    `exec ${[...leaveRoot(container, root), ...commandOf(container, image)].map(quote).join(' ')}`,
    '',
  ].join('\n');
}

function mountLines(mount: Mount, index: number, options: SandboxOptions): string[] {
  const { container, root } = options;
  const target = quote(`${root}${mount.path}`);
  const make = `mkdir -p ${target}`;
  if (mount.kind === 'empty') {
    return [make, `mount -t tmpfs -o mode=2777,gid=${container.group} tmpfs ${target}`];
  }
  if (mount.kind === 'claim') {
    return [make, `mount --bind ${quote(options.claimFolder(mount.claim))} ${target}`];
  }
  const from = quote(`${options.filesFolder}/${index}`);
  return [make, `mount --bind ${from} ${target}`, `mount -o remount,bind,ro ${target}`];
}

/** Without a capability, and without a way to any. */
function leaveRoot({ user, group }: PodContainer, root: string): string[] {
  const ids = [`--reuid=${user}`, `--regid=${group}`, '--clear-groups'];
  const rights = ['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all'];
  return ['chroot', root, 'setpriv', ...ids, ...rights, '--'];
}

export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
