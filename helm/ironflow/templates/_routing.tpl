{{/*
Which service answers what at the one URL; `:id` is one segment of a path. It says of every route of libs/schema what its `service` says, by
path alone: tools/chart compares. Neither /metrics nor the backlog are for outside.
*/}}
{{- define "ironflow.routing" -}}
executor:
  exact: [/v1/workers]
ingest:
  exact: [/v1/events, /v1/invocations, /v1/runs/rerun, /v1/dead-letters/replay]
  prefix: [/v1/hooks]
  patterns:
    - /v1/runs/:id/rerun
    - /v1/dead-letters/:id/replay
    - /v1/functions/:id/replay
    - /v1/schedules/:id/trigger
    - /v1/schedules/:id/backfill
api:
  exact: [/healthz, /readyz]
  prefix: [/v1]
{{- end }}
