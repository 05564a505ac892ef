{{/* Files of services: each Secret brings only the keys that are needed. Of (list $ name settings). */}}

{{- define "ironflow.secretVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items:
      {{- range $key, $path := index . 2 }}
      - {key: {{ $key | quote }}, path: {{ $path | quote }}}
      {{- end }}
{{- end }}

{{- define "ironflow.volumes" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if include "ironflow.isHttps" $root }}
{{ include "ironflow.secretVolume" (list "tls" (include "ironflow.tlsSecret" (list $root "services")) (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) }}
{{- end }}
{{- include "ironflow.natsVolumes" (list $root (index . 1)) }}
{{- with $values.postgres.caSecret }}
{{- if .name }}
{{ include "ironflow.secretVolume" (list "postgres-ca" .name (dict .key "ca.crt")) }}
{{- end }}
{{- end }}
{{- with (index . 2).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What NATS is logged in to with, each on a line of its own. Of (list $ name). */}}
{{- define "ironflow.natsVolumes" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
{{- $client := include "ironflow.natsClient" $root | fromYaml -}}
{{- with include "ironflow.natsCa" $root | fromYaml }}
{{ include "ironflow.secretVolume" (list "nats-ca" .secret (dict .key "ca.crt")) }}
{{- end }}
{{- if eq $client.kind "creds" }}
{{ include "ironflow.secretVolume" (list "nats-creds" $client.secret (dict $client.keys.creds "platform.creds")) }}
{{- if and (eq (index . 1) "api") $client.keys.accounts }}
{{ include "ironflow.secretVolume" (list "nats-accounts" $client.secret (dict $client.keys.accounts "accounts.json")) }}
{{- end }}
{{- end }}
{{- if and (not $values.nats.enabled) $values.externalNats.tls.clientSecret }}
{{ include "ironflow.secretVolume" (list "nats-client" $values.externalNats.tls.clientSecret (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) }}
{{- end }}
{{- end }}

{{/* Where they are. Of the volumes, as YAML. */}}
{{- define "ironflow.volumeMounts" -}}
{{- $folders := dict "tls" "tls" "nats-ca" "nats-ca" "nats-creds" "nats-creds" "nats-accounts" "nats-accounts" "nats-client" "nats-client" "postgres-ca" "postgres" "storage-ca" "storage-ca" -}}
- {name: tmp, mountPath: /tmp}
{{- range $volume := . | fromYamlArray }}
{{- with get $folders $volume.name }}
- {name: {{ $volume.name }}, mountPath: /etc/ironflow/{{ . }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
