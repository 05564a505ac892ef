{{/*
The seven services. What the code of each decides is here: which login it has, and whether requests from outside reach it. All the rest is
in values, and what they share is in one template, service.yaml.
*/}}

{{- define "ironflow.services" -}}
ingest: {database: tenant, public: true}
scheduler: {database: service, public: false}
executor: {database: service, public: true}
result-collector: {database: service, public: false}
cron: {database: service, public: false}
circuit-breaker: {database: service, public: false}
api: {database: tenant, public: true}
{{- end }}

{{/* The settings of one: the defaults, and over them its own. Of (list $ name). */}}
{{- define "ironflow.settings" -}}
{{- $values := (index . 0).Values -}}
{{- $own := get $values.services (index . 1) | default dict -}}
{{- include "ironflow.merged" (list $values.serviceDefaults $own) -}}
{{- end }}

{{/* The second map over the first, also where it says `false` or 0, which mergeOverwrite takes for nothing said. */}}
{{- define "ironflow.merged" -}}
{{- $merged := deepCopy (index . 0) -}}
{{- range $key, $value := index . 1 -}}
{{- $before := get $merged $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $before) -}}
{{- $_ := set $merged $key (include "ironflow.merged" (list $before $value) | fromYaml) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{ toYaml $merged }}
{{- end }}

{{- define "ironflow.serviceName" -}}
{{ include "ironflow.fullname" (index . 0) }}-{{ index . 1 }}
{{- end }}

{{/* Within the cluster. Of (list $ name). */}}
{{- define "ironflow.serviceHost" -}}
{{- $root := index . 0 -}}
{{ include "ironflow.serviceName" . }}.{{ $root.Release.Namespace }}.svc
{{- end }}

{{- define "ironflow.port" -}}8080{{- end }}

{{- define "ironflow.isHttps" -}}
{{- if and .Values.tls.http (ne .Values.tls.mode "none") }}true{{ end -}}
{{- end }}

{{- define "ironflow.scheme" -}}
{{ ternary "https" "http" (eq (include "ironflow.isHttps" .) "true") }}
{{- end }}

{{/*
Seconds that the process may take to end after SIGTERM: 25, or what runs are given and 5 more, as its code has it. Of (list $ name).
*/}}
{{- define "ironflow.stopSeconds" -}}
{{- $values := (index . 0).Values -}}
{{- if eq (index . 1) "executor" -}}
{{ max 25 (add (int $values.executor.drainSeconds) 5) }}
{{- else -}}
25
{{- end -}}
{{- end }}

{{/* From preStop to SIGKILL, at the least. Of (list $ name settings). */}}
{{- define "ironflow.gracePeriodMin" -}}
{{ add (int (index . 2).preStopSeconds) (int (include "ironflow.stopSeconds" .)) }}
{{- end }}

{{- define "ironflow.gracePeriod" -}}
{{- $settings := index . 2 -}}
{{ default (add (int (include "ironflow.gracePeriodMin" .)) 5) (int $settings.terminationGracePeriodSeconds) }}
{{- end }}

{{/* The most replicas that there may be of it. */}}
{{- define "ironflow.replicasMax" -}}
{{ ternary (int .replicas) (int .autoscaling.maxReplicas) (eq .autoscaling.mode "none") }}
{{- end }}

{{- define "ironflow.replicasMin" -}}
{{ ternary (int .replicas) (int .autoscaling.minReplicas) (eq .autoscaling.mode "none") }}
{{- end }}

{{/* How fast. Of settings of autoscaling. */}}
{{- define "ironflow.scalingBehavior" -}}
behavior:
  scaleUp:
    stabilizationWindowSeconds: 0
    policies:
      - {type: Percent, value: 100, periodSeconds: 30}
      - {type: Pods, value: 2, periodSeconds: 30}
    selectPolicy: Max
  # One after the other: each hands its runs to those that stay.
  scaleDown:
    stabilizationWindowSeconds: {{ .scaleDownStabilizationSeconds }}
    policies:
      - {type: Pods, value: 1, periodSeconds: 60}
{{- end }}

{{/* Where the platform is reached from outside; empty if that is unknown. */}}
{{- define "ironflow.testUrl" -}}
{{- if .Values.test.url -}}
{{ .Values.test.url }}
{{- else if .Values.ingress.host -}}
{{- $isPlain := and .Values.ingress.enabled (not .Values.ingress.tls.secretName) -}}
{{ ternary "http" "https" $isPlain }}://{{ .Values.ingress.host }}
{{- end -}}
{{- end }}
