{{/* How NATS is reached, be it the chart's own or yours. */}}

{{- define "ironflow.natsName" -}}
{{ include "ironflow.fullname" . }}-nats
{{- end }}

{{- define "ironflow.natsDomain" -}}
{{ include "ironflow.natsName" . }}-headless.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- define "ironflow.isNatsTls" -}}
{{- if ne .Values.tls.mode "none" }}true{{ end -}}
{{- end }}

{{/* Every server by its name: whoever loses one connects to the next at once. */}}
{{- define "ironflow.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{- $scheme := ternary "tls" "nats" (eq (include "ironflow.isNatsTls" .) "true") -}}
{{- $urls := list -}}
{{- range $index := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "%s://%s-%d.%s:4222" $scheme (include "ironflow.natsName" $) $index (include "ironflow.natsDomain" $)) -}}
{{- end -}}
{{ join "," $urls }}
{{- else -}}
{{ join "," .Values.externalNats.urls }}
{{- end -}}
{{- end }}

{{/* The Secret with the authority of its certificate, and the key; empty: a public one, or none. */}}
{{- define "ironflow.natsCa" -}}
{{- if not .Values.nats.enabled -}}
{{- with .Values.externalNats.tls }}{{ if .caSecret }}{{ dict "secret" .caSecret "key" .caKey | toYaml }}{{ end }}{{ end -}}
{{- else if include "ironflow.isNatsTls" . -}}
{{ dict "secret" (include "ironflow.tlsSecret" (list . "nats")) "key" "ca.crt" | toYaml }}
{{- end -}}
{{- end }}

{{/* What services show: `kind` user, token, creds or none; the Secret and its keys. */}}
{{- define "ironflow.natsClient" -}}
{{- if .Values.nats.enabled -}}
{{- $auth := .Values.nats.auth -}}
{{- if eq $auth.mode "operator" -}}
{{ dict "kind" "creds" "secret" $auth.existingSecret "keys" (dict "creds" $auth.keys.platformCreds "accounts" $auth.keys.accounts) | toYaml }}
{{- else -}}
{{- $secret := ternary $auth.existingSecret (printf "%s-auth" (include "ironflow.natsName" .)) (eq $auth.mode "existingSecret") -}}
{{- $keys := ternary $auth.keys (dict "user" "user" "password" "password") (eq $auth.mode "existingSecret") -}}
{{ dict "kind" "user" "secret" $secret "keys" (pick $keys "user" "password") | toYaml }}
{{- end -}}
{{- else -}}
{{- $auth := .Values.externalNats.auth -}}
{{ dict "kind" $auth.mode "secret" $auth.existingSecret "keys" $auth.keys | toYaml }}
{{- end -}}
{{- end }}
