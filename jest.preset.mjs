// One jest configuration for every package: ESM, TypeScript through swc, workspace packages from their sources.
export default {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  testMatch: ['<rootDir>/src/**/*.test.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  testEnvironmentOptions: { customExportConditions: ['@ironflow/source', 'node', 'node-addons'] },
  // Keys for NATS are signed with in plain JavaScript, whose globals Jest's sandbox makes a hundred times slower.
  sandboxInjectedGlobals: ['Math', 'Float64Array'],
  testTimeout: 30_000,
  // Integration suites start real servers; two cores do not profit from more workers.
  maxWorkers: 2,
};
