// One jest configuration for every package: ESM, TypeScript through swc, workspace packages from their sources.
import { throwAwayFolder } from './tools/setup/throw-away-folder.mjs';

// Servers of tests are made and thrown away by the hundred.
process.env.TMPDIR = throwAwayFolder();

export default {
  testEnvironment: 'node',
  globalSetup: `${import.meta.dirname}/tools/setup/jest-servers.mjs`,
  // One name for all packages: what one has transformed no other transforms again.
  id: 'ironflow',
  cacheDirectory: `${import.meta.dirname}/node_modules/.cache/jest`,
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
