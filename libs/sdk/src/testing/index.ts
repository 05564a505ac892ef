/** The public interface of @ironflow/sdk/testing. Later versions only add to it. */
export { createTestRun } from './test-run.js';
export type { TestResult, TestRun, TestStep } from './test-run.js';
export type { TestRunOptions } from './test-run-options.js';
export type { StepMock, StepMockContext } from './step-mocks.js';
