// Where tests keep what they throw away: in memory where there is room, since disks take most of a test server's start.
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';

const memory = '/dev/shm';
/** Two workers with servers of their own, with room for what they write. */
const roomBytesMin = 4 * 2 ** 30;

export function throwAwayFolder() {
  try {
    accessSync(memory, constants.W_OK);
    const { bavail, bsize } = statfsSync(memory);
    return bavail * bsize >= roomBytesMin && !forbidsPrograms() ? memory : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** Some tests run what they have unpacked. */
function forbidsPrograms() {
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[1] === memory);
  return mount?.split(' ')[3]?.split(',').includes('noexec') ?? true;
}
