{{/* Whom pods may speak to, as rules of network policies. */}}

{{- define "ironflow.egressToServers" -}}
{{ include "ironflow.egressToPostgres" . }}
{{ include "ironflow.egressToNats" . }}
{{- if .Values.otel.endpoint }}
- ports:
    - {protocol: TCP, port: {{ include "ironflow.portOf" (list .Values.otel.endpoint 4318) }}}
  {{- with .Values.networkPolicy.otel.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.egressToNats" -}}
{{- if .Values.nats.enabled -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "ironflow.selectorLabels" (list . "nats") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 4222}
{{- else -}}
- ports:
    {{- $ports := list }}
    {{- range .Values.externalNats.urls }}{{ $ports = append $ports (include "ironflow.portOf" (list . 4222)) }}{{ end }}
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.externalNats.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.egressToPostgres" -}}
- ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.postgres.port }}}
  {{- with .Values.networkPolicy.postgres.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Of a URL, or the one it has when it names none. */}}
{{- define "ironflow.portOf" -}}
{{ regexFind ":[0-9]+/?$" (index . 0) | trimPrefix ":" | trimSuffix "/" | default (index . 1 | toString) }}
{{- end }}

{{/*
The second wall around what tenants have called; the executor's own look at every address is the first. Push apps are anywhere, on any port,
but not in a private network; where `executor.outboundAllow` says otherwise the executor agrees.
*/}}
{{- define "ironflow.egressToApps" -}}
{{- $policy := .Values.networkPolicy.executor -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml $policy.privateRanges | nindent 10 }}
    - ipBlock:
        cidr: ::/0
        except:
          {{- toYaml $policy.privateRanges6 | nindent 10 }}
    {{- range .Values.executor.outboundAllow }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
{{- end }}
