{{/* The environment of services: secrets are referred to and never shown. */}}

{{- define "ironflow.secretRef" -}}
valueFrom: {secretKeyRef: {name: {{ index . 0 | quote }}, key: {{ index . 1 | quote }}}}
{{- end }}

{{/* As a map from a name to the rest of its entry, so that settings can replace single ones. Of (list $ name settings facts). */}}
{{- define "ironflow.envMap" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $settings := index . 2 -}}
{{- $facts := index . 3 -}}
{{- $values := $root.Values -}}
HOST: {value: {{ $values.listenHost | quote }}}
PORT: {value: {{ include "ironflow.port" $root | quote }}}
LOG_LEVEL: {value: {{ $values.logLevel | quote }}}
IRONFLOW_DATABASE_CONNECTIONS: {value: {{ $settings.databaseConnections | int | toString | quote }}}
IRONFLOW_STREAM_REPLICAS: {value: {{ $values.nats.streamReplicas | int | toString | quote }}}
IRONFLOW_MASTER_KEY: {{ include "ironflow.secretRef" (list $values.secrets.existingSecret $values.secrets.keys.masterKey) | fromYaml | toJson }}
{{- with $values.nats.streams }}
IRONFLOW_STREAMS: {value: {{ toJson . | quote }}}
{{- end }}
{{- with $values.acceptRisks }}
IRONFLOW_ACCEPT_RISKS: {value: {{ join "," . | quote }}}
{{- end }}
{{- with $values.trustedProxies }}
IRONFLOW_TRUSTED_PROXIES: {value: {{ join "," . | quote }}}
{{- end }}
{{- if include "ironflow.isHttps" $root }}
TLS_CERT_FILE: {value: /etc/ironflow/tls/tls.crt}
TLS_KEY_FILE: {value: /etc/ironflow/tls/tls.key}
{{- end }}
{{- $postgres := $values.postgres }}
{{- if eq $facts.database "tenant" }}
TENANT_DATABASE_URL: {{ include "ironflow.secretRef" (list $postgres.existingSecret $postgres.keys.tenant) | fromYaml | toJson }}
{{- end }}
{{- /* The api needs both: it tells services which registries changed, and serves operators. */}}
{{- if or (eq $facts.database "service") (eq $name "api") }}
DATABASE_URL: {{ include "ironflow.secretRef" (list $postgres.existingSecret $postgres.keys.service) | fromYaml | toJson }}
{{- end }}
{{- if eq $name "api" }}
IRONFLOW_OPERATOR_KEY: {{ include "ironflow.secretRef" (list $values.secrets.existingSecret $values.secrets.keys.operatorKey) | fromYaml | toJson }}
{{- end }}
{{- if eq $name "executor" }}
IRONFLOW_DRAIN_TIMEOUT_MS: {value: {{ mul (int $values.executor.drainSeconds) 1000 | toString | quote }}}
{{- with $values.executor.outboundAllow }}
IRONFLOW_OUTBOUND_ALLOW: {value: {{ join "," . | quote }}}
{{- end }}
{{- end }}
{{- with $values.otel.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {value: {{ . | quote }}}
OTEL_TRACES_SAMPLER_ARG: {value: {{ $values.otel.sampleRatio | toString | quote }}}
{{- with $values.otel.headersSecret }}
{{- if .name }}
OTEL_EXPORTER_OTLP_HEADERS: {{ include "ironflow.secretRef" (list .name .key) | fromYaml | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{ include "ironflow.natsEnvMap" (list $root $name) }}
{{- end }}

{{/* The list itself. Of the same. */}}
{{- define "ironflow.env" -}}
{{- $settings := index . 2 -}}
{{- $env := include "ironflow.envMap" . | fromYaml -}}
{{- range $variable, $value := $settings.env }}{{ $_ := set $env $variable (dict "value" (toString $value)) }}{{ end -}}
{{ include "ironflow.envList" $env }}
{{- with $settings.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of such a map. */}}
{{- define "ironflow.envList" -}}
{{- range $variable, $value := . }}
- name: {{ $variable }}
  {{- toYaml $value | nindent 2 }}
{{- end }}
{{- end }}

{{/* What a service shows the servers of NATS. Of (list $ name). */}}
{{- define "ironflow.natsEnvMap" -}}
{{- $root := index . 0 -}}
{{- $isApi := eq (index . 1) "api" -}}
{{- $values := $root.Values -}}
NATS_URL: {value: {{ include "ironflow.natsUrl" $root | quote }}}
{{- if include "ironflow.natsCa" $root }}
NATS_TLS_CA_FILE: {value: /etc/ironflow/nats-ca/ca.crt}
{{- end }}
{{- $client := include "ironflow.natsClient" $root | fromYaml }}
{{- if eq $client.kind "user" }}
NATS_USER: {{ include "ironflow.secretRef" (list $client.secret $client.keys.user) | fromYaml | toJson }}
NATS_PASSWORD: {{ include "ironflow.secretRef" (list $client.secret $client.keys.password) | fromYaml | toJson }}
{{- else if eq $client.kind "token" }}
NATS_TOKEN: {{ include "ironflow.secretRef" (list $client.secret $client.keys.token) | fromYaml | toJson }}
{{- else if eq $client.kind "creds" }}
NATS_CREDS_FILE: {value: /etc/ironflow/nats-creds/platform.creds}
{{- if and $isApi $client.keys.accounts }}
NATS_ACCOUNTS_FILE: {value: /etc/ironflow/nats-accounts/accounts.json}
{{- end }}
{{- end }}
{{- if and (not $values.nats.enabled) $values.externalNats.tls.clientSecret }}
NATS_TLS_CERT_FILE: {value: /etc/ironflow/nats-client/tls.crt}
NATS_TLS_KEY_FILE: {value: /etc/ironflow/nats-client/tls.key}
{{- end }}
{{- end }}
