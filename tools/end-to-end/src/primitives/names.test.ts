import { expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import { createTestRun } from '@ironflow/sdk/testing';
import { primitiveNames } from './names.mjs';

test('every tool of `step` has a row in the table', async () => {
  const asked = createFunction({ id: 'asked', triggers: [] }, ({ step }) => Object.keys(step));
  const { output } = await createTestRun(asked).execute();
  const tools = (output as string[]).map((tool) => `step.${tool}`);
  expect(tools).toContain('step.run');
  expect(tools.filter((tool) => !primitiveNames.includes(tool))).toEqual([]);
});
