{{/* What all pods have in common: they may do nothing but run. */}}

{{/* Of the root. */}}
{{- define "ironflow.podSecurity" -}}
automountServiceAccountToken: false
{{/* Variables for every Service of the namespace could be taken for configuration. */ -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.security.runAsUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Where pods may be. Of a service's settings, or of those of NATS. */}}
{{- define "ironflow.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/*
Over zones as far as there are any, over nodes as the values say. Pods of an older revision do not count, or a rollout would crowd.
Of (dict "selector" labels "spread" … "revisionLabel" …).
*/}}
{{- define "ironflow.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
    {{- with .revisionLabel }}
    matchLabelKeys: [{{ . }}]
    {{- end }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .spread }}
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
    {{- with .revisionLabel }}
    matchLabelKeys: [{{ . }}]
    {{- end }}
{{- end }}
