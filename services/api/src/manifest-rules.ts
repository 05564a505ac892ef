/** What an app's functions have to satisfy beyond their schema: schedules that can fire, expressions that compile. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { compileCondition, compileValue } from '@ironflow/condition';
import type { ConditionVariable, ValueUse } from '@ironflow/condition';
import { IronflowError } from '@ironflow/errors';
import { brokenScheduleRule } from '@ironflow/schedule';
import { isCronTrigger } from '@ironflow/schema';
import type { AppManifest, FlowControl, Trigger } from '@ironflow/schema';

/** The largest manifest takes seconds; other requests get their turn in between. */
const turnMs = 10;

/** Rejects with the first broken rule; its field is a path such as `functions[2].triggers[0].if`. */
export async function checkManifest(manifest: AppManifest): Promise<void> {
  let turnEndsAtMs = performance.now() + turnMs;
  for (const [index, { triggers, cancelOn = [], ...config }] of manifest.functions.entries()) {
    const rules = [
      ...triggers.map((trigger, at) => ({
        place: `triggers[${at}].`,
        check: () => brokenTriggerRule(trigger),
      })),
      ...cancelOn.map((one, at) => ({
        place: `cancelOn[${at}].`,
        check: () => brokenCondition(one.if, 'trigger'),
      })),
      ...flowExpressions(config).map(({ field, expression, use }) => ({
        place: '',
        check: () => brokenValue({ field, expression, use }),
      })),
    ];
    for (const { place, check } of rules) {
      const broken = check();
      if (broken !== undefined) throw invalid(`functions[${index}].${place}`, broken);
      if (performance.now() < turnEndsAtMs) continue;
      await nextTurn();
      turnEndsAtMs = performance.now() + turnMs;
    }
  }
}

function brokenTriggerRule(trigger: Trigger): { field: string; rule: string } | undefined {
  if (isCronTrigger(trigger)) return brokenScheduleRule(trigger, Date.now());
  return brokenCondition(trigger.if, 'event');
}

function brokenCondition(expression: string | undefined, over: ConditionVariable) {
  const condition = expression === undefined ? undefined : compileCondition(expression, over);
  return condition?.kind === 'refused' ? { field: 'if', rule: condition.rule } : undefined;
}

interface FlowExpression {
  field: string;
  expression: string | undefined;
  use: ValueUse;
}

function flowExpressions({
  idempotency,
  priority,
  concurrency = [],
  ...rules
}: FlowControl): FlowExpression[] {
  const keyed = (['rateLimit', 'debounce', 'batch', 'singleton', 'throttle'] as const).map((rule) => ({
    field: `${rule}.key`,
    expression: rules[rule]?.key,
  }));
  const concurrent = concurrency.map(({ key }, at) => ({ field: `concurrency[${at}].key`, expression: key }));
  const keys = [{ field: 'idempotency', expression: idempotency }, ...keyed, ...concurrent];
  return [
    ...keys.map((key) => ({ ...key, use: 'key' as const })),
    { field: 'priority', expression: priority, use: 'priority' },
  ];
}

function brokenValue({ field, expression, use }: FlowExpression) {
  const value = expression === undefined ? undefined : compileValue(expression, use);
  return value?.kind === 'refused' ? { field, rule: value.rule } : undefined;
}

function invalid(place: string, { field, rule }: { field: string; rule: string }): IronflowError {
  return new IronflowError('invalid', 'app_invalid', rule, { field: `${place}${field}` });
}
