import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, functionConfig, manifest } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  createApiStore,
  createCronStore,
  createRegistryReader,
  listEnvironments,
  registerApp,
  setPaused,
} from './index.js';

let platform: Platform;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});

beforeEach(async () => {
  await platform.admin.query('truncate schedules, functions, apps');
  await platform.admin.query('update environments set registry_version = 0');
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

test('registering raises the version of that environment only; the same again does not', async () => {
  const first = await registerApp(platform.tenant, ours, manifest());
  expect(first).toEqual({ appId: 'shop', registered: ['ship'], unchanged: [], archived: [], version: 1 });
  const again = await registerApp(platform.tenant, ours, manifest({ sdk: 'typescript/1.0' }));
  expect(again).toEqual({ appId: 'shop', registered: [], unchanged: ['ship'], archived: [], version: 1 });
  const versions = new Map(
    (await listEnvironments(platform.service)).map((row) => [row.scope.environmentId, row.registryVersion]),
  );
  expect(versions).toEqual(
    new Map([
      [ours, 1],
      [theirs, 0],
    ]),
  );
});

test('registrations of one environment at the same time each get a version of their own', async () => {
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, index) =>
      registerApp(
        platform.tenant,
        ours,
        manifest({ id: `app${index}`, functions: [functionConfig(`f${index}`)] }),
      ),
    ),
  );
  expect(answers.map(({ version }) => version).sort((a, b) => a - b)).toEqual([
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
  ]);
  const registry = await createRegistryReader(platform.service).get(ours);
  expect([registry.version, registry.apps.size, registry.functions.size]).toEqual([10, 10, 10]);
});

test('an id of another app is refused by its field, and nothing of the manifest is registered', async () => {
  await registerApp(platform.tenant, ours, manifest());
  const functions = [functionConfig('new'), functionConfig('ship')];
  await expect(
    registerApp(platform.tenant, ours, manifest({ id: 'other', functions })),
  ).rejects.toMatchObject({
    code: 'function_id_taken',
    field: 'functions[1].id',
  });
  const registry = await createRegistryReader(platform.tenant).get(ours);
  expect([registry.version, [...registry.functions.keys()], [...registry.apps.keys()]]).toEqual([
    1,
    ['ship'],
    ['shop'],
  ]);
  expect(await registerApp(platform.tenant, theirs, manifest({ id: 'other', functions }))).toMatchObject({
    version: 1,
  });
});

test('a reader keeps what it read until it is told of a higher version, or to forget', async () => {
  const reader = createRegistryReader(platform.tenant);
  expect(await reader.get(ours)).toMatchObject({ version: 0 });
  const { version } = await registerApp(
    platform.tenant,
    ours,
    manifest({ mode: 'push', url: 'https://a.example' }),
  );
  expect(await reader.get(ours)).toMatchObject({ version: 0 });
  const [one, two] = await Promise.all([reader.atLeast(ours, version), reader.atLeast(ours, version)]);
  expect(one).toBe(two);
  expect(one.apps.get('shop')).toEqual({
    id: 'shop',
    mode: 'push',
    url: 'https://a.example',
    signedAnswers: false,
  });
  expect(one.functions.get('ship')).toMatchObject({ appId: 'shop', config: functionConfig('ship') });
  expect(await reader.get(ours)).toBe(one);
  expect(await reader.atLeast(ours, version)).toBe(one);
  reader.invalidate(ours);
  expect(await reader.get(ours)).not.toBe(one);
});

test('the registry of an environment that does not exist is an error and not an empty one', async () => {
  const unknown = '01890000-0000-7000-8000-000000000001';
  const error = { category: 'not_found', code: 'environment_unknown' };
  await expect(createRegistryReader(platform.tenant).get(unknown)).rejects.toMatchObject(error);
  await expect(registerApp(platform.tenant, unknown, manifest())).rejects.toMatchObject(error);
});

describe('a pause', () => {
  const reader = () => createRegistryReader(platform.service);
  const environment = async () => (await createApiStore(platform.tenant).getEnvironment(ours))!;

  test('of a function raises the version and is in the registry, until it goes on', async () => {
    await registerApp(platform.tenant, ours, manifest());
    const ship = { environmentId: ours, functionId: 'ship' };
    expect(await setPaused(platform.tenant, { ...ship, paused: true })).toBe(2);
    expect(await reader().get(ours)).toMatchObject({
      version: 2,
      paused: false,
      pausedFunctions: new Set(['ship']),
    });
    const since = (await createApiStore(platform.tenant).getFunction(ours, 'ship'))!.pausedAt;
    expect(Date.parse(since!)).not.toBeNaN();
    expect(await setPaused(platform.tenant, { ...ship, paused: true })).toBe(2);
    expect(await createApiStore(platform.tenant).getFunction(ours, 'ship')).toMatchObject({
      pausedAt: since,
    });
    expect(await setPaused(platform.tenant, { ...ship, paused: false })).toBe(3);
    expect((await reader().get(ours)).pausedFunctions).toEqual(new Set());
    expect(await createApiStore(platform.tenant).getFunction(ours, 'ship')).not.toHaveProperty('pausedAt');
  });

  test('of a function stays when its app registers again, changed or removed', async () => {
    await registerApp(platform.tenant, ours, manifest());
    await setPaused(platform.tenant, { environmentId: ours, functionId: 'ship', paused: true });
    await registerApp(
      platform.tenant,
      ours,
      manifest({ functions: [functionConfig('ship', [{ event: 'x' }])] }),
    );
    expect((await reader().get(ours)).pausedFunctions).toEqual(new Set(['ship']));
    await registerApp(platform.tenant, ours, manifest({ functions: [] }));
    await registerApp(platform.tenant, ours, manifest());
    expect((await reader().get(ours)).pausedFunctions).toEqual(new Set(['ship']));
  });

  test('of an environment concerns it alone', async () => {
    expect(await environment()).toEqual({ project: 'shop', env: 'prod' });
    expect(await setPaused(platform.tenant, { environmentId: ours, paused: true })).toBe(1);
    expect(await environment()).toMatchObject({ pausedAt: expect.any(String) });
    expect((await reader().get(ours)).paused).toBe(true);
    expect((await reader().get(theirs)).paused).toBe(false);
    expect(await setPaused(platform.tenant, { environmentId: ours, paused: false })).toBe(2);
    expect((await reader().get(ours)).paused).toBe(false);
  });

  test('of what does not exist here changes nothing', async () => {
    await registerApp(platform.tenant, ours, manifest());
    const pause = { environmentId: theirs, functionId: 'ship', paused: true };
    expect(await setPaused(platform.tenant, pause)).toBeUndefined();
    expect(await reader().get(theirs)).toMatchObject({ version: 0, pausedFunctions: new Set() });
    expect((await reader().get(ours)).pausedFunctions).toEqual(new Set());
  });
});

test('an archived function leaves the registry and its schedules stop; the list still shows it', async () => {
  const cron = { cron: '0 * * * *', timezone: 'UTC' };
  const hourly = functionConfig('hourly', [cron]);
  await registerApp(platform.tenant, ours, manifest({ functions: [functionConfig('ship'), hourly] }));
  expect(await createCronStore(platform.service).schedules()).toMatchObject([
    { scope: platform.ours.scope, functionId: 'hourly', trigger: cron },
  ]);
  const answer = await registerApp(platform.tenant, ours, manifest());
  expect(answer).toMatchObject({ archived: ['hourly'], unchanged: ['ship'], version: 2 });
  expect(await createCronStore(platform.service).schedules()).toEqual([]);
  const registry = await createRegistryReader(platform.tenant).get(ours);
  expect([...registry.functions.keys()]).toEqual(['ship']);
  expect([...registry.archived]).toEqual([['hourly', { appId: 'shop', hash: expect.any(String) }]]);
  const listed = await createApiStore(platform.tenant).listFunctions(ours);
  expect(listed.map(({ id, status }) => [id, status])).toEqual([
    ['hourly', 'archived'],
    ['ship', 'active'],
  ]);
});

test('a schedule counts from its own registration; changing or archiving it begins anew', async () => {
  const daily = { cron: '0 0 * * *', timezone: 'UTC' };
  const hourly = { cron: '0 * * * *', timezone: 'UTC' };
  const register = (...schedules: (typeof daily)[]) =>
    registerApp(platform.tenant, ours, manifest({ functions: [functionConfig('job', schedules)] }));
  const since = async () =>
    new Map((await createCronStore(platform.service).schedules()).map((s) => [s.trigger.cron, s.beginsAtMs]));
  const age = () =>
    platform.admin.query(`update schedules set registered_at = registered_at - interval '1 hour'`);

  await register(daily);
  await age();
  const before = (await since()).get(daily.cron)!;
  await register(daily, hourly);
  expect((await since()).get(daily.cron)).toBe(before);
  expect((await since()).get(hourly.cron)).toBeGreaterThan(before);
  await register(hourly);
  await register(daily);
  expect((await since()).get(daily.cron)).toBeGreaterThan(before);
  await age();
  const unarchivedFrom = (await since()).get(daily.cron)!;
  await registerApp(platform.tenant, ours, manifest({ functions: [] }));
  await register(daily);
  expect((await since()).get(daily.cron)).toBeGreaterThan(unarchivedFrom);
});
