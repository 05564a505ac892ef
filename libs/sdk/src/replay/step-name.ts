/** What a step may be called. */
import { limits } from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import { compensationName, isCompensationName } from './compensations.js';
import { isMarkerName, markerName } from './patches.js';

/** NUL, or half a surrogate pair. */
const unstorable = /\0|\p{Surrogate}/u;

/** Of the whole name: in a branch, with the prefix that it got there. */
export function checkName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '') throw new ConfigurationError('a step needs a name');
  checkText(name);
  if (isMarkerName(name)) {
    throw new ConfigurationError(`a step cannot be called "${name}": such names are those of step.patched`);
  }
  if (isCompensationName(name)) {
    throw new ConfigurationError(
      `a step cannot be called "${name}": such names are those of step.compensate`,
    );
  }
}

export function checkCompensationName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '') throw new ConfigurationError('step.compensate needs a name');
  checkText(compensationName(name));
}

export function checkPatchId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || id === '') throw new ConfigurationError('step.patched needs an id');
  checkText(markerName(id));
}

function checkText(name: string): void {
  // Most names are so short that their bytes need no counting.
  if (name.length * 3 > limits.stepNameBytesMax && Buffer.byteLength(name) > limits.stepNameBytesMax) {
    const message = `a step's name is at most ${limits.stepNameBytesMax} bytes, with the prefixes of its branches`;
    throw new ConfigurationError(`${message}: "${name.slice(0, 64)}…" has ${Buffer.byteLength(name)}`);
  }
  // What Postgres would change or refuse would not be found again in the memo.
  if (unstorable.test(name)) {
    throw new ConfigurationError(`a step's name is well-formed text without NUL`);
  }
}
