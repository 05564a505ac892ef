// What the table in docs/primitives.md has a row for, in its order. Plain JavaScript, since the reporter that makes the table
// is loaded as it is.

/** Those that are called on `step` are named after it: names.test.ts finds a tool without a row. */
export const primitiveNames = [
  'function',
  'step.run',
  'step.compensate',
  'step.sleep',
  'step.sleepUntil',
  'step.waitForEvent',
  'step.waitForSignal',
  'step.approve',
  'step.invoke',
  'step.invokeAsync',
  'step.sendEvent',
  'step.publish',
  'step.map',
  'step.parallel',
  'Promise.all',
  'step.patched',
  'large outputs',
  'onFailure',
  'cancelOn',
  'rerun',
];

export const modes = ['push', 'pull'];

export const caseNames = ['happy', 'failure', 'timeout', 'crash', 'cancel'];
