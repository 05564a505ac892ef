/** Whether what ran during an upgrade ended as it should, from Postgres. */
import type { Database } from '@ironflow/database';

export const stepNamesOfUpgrade = ['reserve', 'charge', 'ship', 'confirm'] as const;

/** In sentences; empty if nothing is wrong. */
export async function checkOutcomes(database: Pick<Database, 'query'>): Promise<string[]> {
  const [row] = await database.query<{ wrong: number; letters: number; steps: number }>(
    {
      name: 'upgrade_outcomes',
      text: `select
        (select count(*)::int from runs r join events e on e.id = r.event_id
          where r.function_id like 'fault-%' and (r.status <> 'completed' or (r.output ->> 'n') is distinct from (e.data ->> 'n')
            or (r.output -> 'done')::text is distinct from $1)) as wrong,
        (select count(*)::int from dead_letters) as letters,
        (select count(*)::int from (select run_id, step_id from steps where status = 'completed' and type = 'run'
          group by 1, 2 having count(*) > 1) twice) as steps`,
    },
    [JSON.stringify(stepNamesOfUpgrade)],
  );
  const { wrong, letters, steps } = row!;
  return [
    ...(wrong > 0 ? [`${wrong} runs did not end with their result`] : []),
    ...(letters > 0 ? [`there are ${letters} dead letters`] : []),
    ...(steps > 0 ? [`${steps} steps have more than one result`] : []),
  ];
}
