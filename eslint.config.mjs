// Lint with types, and the rooms of the house (docs/architecture.md): who may import whom.
import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

const onlyIn = (room, patterns) => ({ group: patterns, message: `Only ${room} imports this.` });
const nats = onlyIn('libs/jetstream, or libs/nats-accounts for keys,', ['@nats-io/*', 'nats']);
const postgres = onlyIn('libs/database', ['pg', 'pg/*', '@prisma/*']);
const restrict = (...groups) => ({
  'no-restricted-imports': 'off',
  '@typescript-eslint/no-restricted-imports': ['error', { patterns: groups }],
});

export default tseslint.config(
  {
    ignores: ['**/dist', '**/out-tsc', '**/node_modules', '**/generated', '.nx', '.ironflow'],
  },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { project: `${import.meta.dirname}/tsconfig.lint.json` } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
  },
  {
    files: ['**/*.ts'],
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: true,
          banTransitiveDependencies: false,
          allow: [],
          // What a command loads late, tests and types of the same package may import as ever.
          checkDynamicDependenciesExceptions: ['^@ironflow/.*$'],
          depConstraints: [
            { sourceTag: 'pure', onlyDependOnLibsWithTags: ['pure'] },
            { sourceTag: 'type:lib', onlyDependOnLibsWithTags: ['type:lib'] },
            { sourceTag: 'type:service', onlyDependOnLibsWithTags: ['type:lib'] },
            { sourceTag: 'type:tool', onlyDependOnLibsWithTags: ['type:lib', 'type:service', 'type:tool'] },
          ],
        },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
      'max-lines-per-function': ['error', { max: 90, skipBlankLines: true, skipComments: true }],
      'no-console': 'error',
      eqeqeq: 'error',
      ...restrict(nats, postgres),
    },
  },
  { files: ['libs/jetstream/**/*.ts'], rules: restrict(postgres) },
  // Tokens and keys, without a connection but in its tests.
  { files: ['libs/nats-accounts/**/*.ts'], rules: restrict(postgres) },
  // A tenant's NATS client is none of ours.
  { files: ['tools/end-to-end/src/direct-nats/**/*.ts'], rules: restrict(postgres) },
  { files: ['libs/database/**/*.ts'], rules: restrict(nats) },
  // The launcher of the local PostgreSQL has to ask it whether it is up; nothing else of libs/testing speaks SQL.
  { files: ['libs/testing/src/postgres.ts'], rules: restrict(nats) },
  // The outbox is for users' own databases, which they reach as they like.
  { files: ['tools/end-to-end/src/outbox.integration.test.ts'], rules: restrict(nats) },
  { files: ['tools/**/*.ts'], rules: { 'no-console': 'off' } },
  { files: ['**/*.test.ts'], rules: { 'max-lines-per-function': 'off' } },
  { files: ['**/*.mjs', '**/*.js'], ...tseslint.configs.disableTypeChecked },
);
