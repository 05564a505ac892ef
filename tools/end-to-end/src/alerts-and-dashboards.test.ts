/** Alerts and dashboards use no metric that is not documented, and of every alert it is said what to do. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';

const pathOf = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const read = (path: string): string => readFileSync(pathOf(path), 'utf8');

const rules = read('deploy/prometheus/rules.yaml');
const ruleTests = read('deploy/prometheus/rules.test.yaml');
const runbook = read('docs/operations/alerts.md');
const documented = new Map(
  [...read('docs/operations/metrics.md').matchAll(/^\| `([a-z_]+)` \| (\w+)/gm)].map(([, name, type]) => [
    name!,
    type!,
  ]),
);
const alerts = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name!);

const targetSchema = z.object({ expr: z.string(), legendFormat: z.string().optional() });
const panelSchema = z.object({
  id: z.number(),
  title: z.string(),
  type: z.string(),
  targets: z.array(targetSchema).default([]),
});
const dashboardSchema = z.object({
  uid: z.string().regex(/^[a-z-]{1,40}$/),
  title: z.string(),
  panels: z.array(panelSchema).min(5),
});
const dashboards = readdirSync(pathOf('deploy/grafana')).map((file) => ({
  file,
  ...dashboardSchema.parse(JSON.parse(read(`deploy/grafana/${file}`))),
}));

/** Names of metrics in an expression or a file of them: what has the prefix of something that is scraped. */
function metricsIn(text: string): string[] {
  const names = text.matchAll(/(?<![\w"/#.-])(ironflow|nats|pg)_[a-z_]+|(?<![\w"])up(?=\{)/g);
  return [...new Set([...names].map(([name]) => name))];
}

function undocumented(names: readonly string[]): string[] {
  return names.filter((name) => {
    const histogram = name.replace(/_(bucket|sum|count)$/, '');
    return !documented.has(name) && documented.get(histogram) !== 'histogram';
  });
}

test('alerts use only metrics that are documented', () => {
  expect(metricsIn(rules).length).toBeGreaterThan(20);
  expect(undocumented(metricsIn(rules))).toEqual([]);
});

test('every alert has a name of its own, a severity, and a test in which it fires', () => {
  expect(new Set(alerts).size).toBe(alerts.length);
  expect(rules.match(/severity: (critical|warning)/g)).toHaveLength(alerts.length);
  const fires = alerts.filter((name) =>
    new RegExp(`alertname: ${name}\\n +eval_time: \\w+\\n +exp_alerts:\\n`).test(ruleTests),
  );
  expect(fires).toEqual(alerts);
});

test.each(alerts)('of %s it is said what to do', (name) => {
  expect(rules).toContain(`runbook: docs/operations/alerts.md#${name.toLowerCase()}`);
  const section = new RegExp(`^### ${name}\\n\\n([^#]+)`, 'm').exec(runbook)?.[1] ?? '';
  expect(section.length).toBeGreaterThan(100);
});

test('nothing is said of an alert that there is not', () => {
  const said = [...runbook.matchAll(/^### (\w+)$/gm)].map(([, name]) => name!);
  expect(said.sort()).toEqual([...alerts].sort());
});

describe.each(dashboards)('the dashboard $file', ({ panels }) => {
  test('uses only metrics that are documented', () => {
    const names = metricsIn(panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)).join('\n'));
    expect(names.length).toBeGreaterThan(5);
    expect(undocumented(names)).toEqual([]);
  });

  test('has panels with ids of their own, each of which shows something', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const empty = panels.filter(({ type, targets }) => type !== 'row' && targets.length === 0);
    expect(empty.map(({ title }) => title)).toEqual([]);
  });
});

test('every page on operations is found from the first', () => {
  const pages = readdirSync(pathOf('docs/operations')).filter((name) => name !== 'README.md');
  const index = read('docs/operations/README.md');
  expect(pages.filter((name) => !index.includes(`](${name})`))).toEqual([]);
});

test('dashboards have addresses of their own', () => {
  expect(dashboards).toHaveLength(3);
  expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(3);
});
