/** The example as `npm start` and `npm run demo` run it. */
export { runExample } from './run-example.js';
export type { ExampleOptions } from './run-example.js';
export type { ExampleReport, FunctionReport } from './report.js';
