import { expect, test } from '@jest/globals';
import type { FunctionConfig, RegisteredApp } from '@ironflow/schema';
import { functionConfig, manifest } from '../test/platform.js';
import { planRegistration } from './registration.js';
import type { FunctionState } from './registration.js';

const app: RegisteredApp = { id: 'shop', mode: 'pull', url: undefined, signedAnswers: false };

function statesOf(functions: FunctionConfig[], changes: Partial<FunctionState> = {}): FunctionState[] {
  return planRegistration(undefined, [], manifest({ functions })).registered.map(({ config, hash }) => ({
    id: config.id,
    appId: 'shop',
    hash,
    status: 'active',
    ...changes,
  }));
}

const ids = (plan: ReturnType<typeof planRegistration>): string[] =>
  plan.registered.map(({ config }) => config.id);

test('registering the same again changes nothing, in whatever order fields come', () => {
  const config = functionConfig('ship');
  const reordered = { retries: config.retries, triggers: config.triggers, id: config.id };
  const plan = planRegistration(app, statesOf([config]), manifest({ functions: [reordered] }));
  expect(plan).toEqual({ changed: false, registered: [], unchanged: ['ship'], archived: [] });
});

test('a changed configuration is registered again', () => {
  const changed = functionConfig('ship', [{ event: 'order.paid' }]);
  const plan = planRegistration(app, statesOf([functionConfig('ship')]), manifest({ functions: [changed] }));
  expect(plan).toMatchObject({ changed: true, unchanged: [], archived: [] });
  expect(ids(plan)).toEqual(['ship']);
});

test('a function that disappeared is archived, and one that comes back is registered', () => {
  const states = statesOf([functionConfig('ship'), functionConfig('bill')]);
  const gone = planRegistration(app, states, manifest());
  expect(gone).toMatchObject({ changed: true, unchanged: ['ship'], archived: ['bill'] });
  const archived = statesOf([functionConfig('ship')], { status: 'archived' });
  expect(ids(planRegistration(app, archived, manifest()))).toEqual(['ship']);
});

test('another app may take over an archived id, and never an active one', () => {
  const theirs = statesOf([functionConfig('ship')], { appId: 'other' });
  expect(() => planRegistration(app, theirs, manifest())).toThrow(
    expect.objectContaining({ category: 'conflict', code: 'function_id_taken', field: 'functions[0].id' }),
  );
  const archived = statesOf([functionConfig('ship')], { appId: 'other', status: 'archived' });
  expect(ids(planRegistration(app, archived, manifest()))).toEqual(['ship']);
});

test('a new url alone is a change', () => {
  const push = manifest({ mode: 'push', url: 'https://new.example' });
  const before: RegisteredApp = {
    id: 'shop',
    mode: 'push',
    url: 'https://old.example',
    signedAnswers: false,
  };
  const states = statesOf([functionConfig('ship')]);
  expect(planRegistration(before, states, push)).toMatchObject({ changed: true, unchanged: ['ship'] });
});

test('that its answers are signed from now on is a change', () => {
  const before: RegisteredApp = { id: 'shop', mode: 'push', url: 'https://a.example', signedAnswers: false };
  const states = statesOf([functionConfig('ship')]);
  const push = { mode: 'push', url: 'https://a.example' } as const;
  expect(planRegistration(before, states, manifest(push))).toMatchObject({ changed: false });
  const signed = manifest({ ...push, signedAnswers: true });
  expect(planRegistration(before, states, signed)).toMatchObject({ changed: true });
});
