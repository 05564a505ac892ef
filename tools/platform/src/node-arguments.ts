/** What node is started with: the one place for everything that starts services, or programs beside them, as processes. */

/**
 * Of every service. A larger young generation than node's: what a service makes lives for milliseconds, and is cheaper dead
 * than moved. One helper thread of V8 instead of four: a service has a share of a core, and no idle ones beside it.
 */
export const serviceNodeArguments: readonly string[] = [
  '--enable-source-maps',
  '--max-semi-space-size=64',
  '--v8-pool-size=1',
];

/** Of any program that is to end with the one that starts it, which gives it an IPC channel. */
export const endWithParentArguments: readonly string[] = [
  '--import',
  new URL('../dist/end-with-parent.js', import.meta.url).href,
];
