{{/* Names, labels and images. */}}

{{- define "ironflow.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is put behind it: names of pods have at most 63 characters. */}}
{{- define "ironflow.fullname" -}}
{{- $name := include "ironflow.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "ironflow.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "ironflow.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* What selects: of these nothing may ever change. Of (list $ component). */}}
{{- define "ironflow.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "ironflow.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of (list $ component). */}}
{{- define "ironflow.labels" -}}
{{- $root := index . 0 -}}
{{ include "ironflow.selectorLabels" . }}
app.kubernetes.io/part-of: ironflow
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, namespace, labels and annotations of an object. Of (list $ component name [annotations [more labels]]). */}}
{{- define "ironflow.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "ironflow.labels" (list $root (index . 1)) | nindent 2 }}
  {{- if gt (len .) 4 }}{{ with index . 4 }}{{ toYaml . | nindent 2 }}{{ end }}{{ end }}
{{- $annotations := dict -}}
{{- if gt (len .) 3 }}{{ $annotations = index . 3 | default dict }}{{ end -}}
{{- with merge (deepCopy $annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of (dict "root" $ "repository" … "tag" … "digest" …). */}}
{{- define "ironflow.image" -}}
{{- $name := .repository -}}
{{- with .root.Values.global.imageRegistry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if .digest }}{{ printf "%s@%s" $name .digest }}{{ else }}{{ printf "%s:%s" $name (toString .tag) }}{{ end -}}
{{- end }}

{{/* Of (list $ name [repository]): of a service or the CLI. */}}
{{- define "ironflow.ownImage" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $image := $root.Values.image -}}
{{- $repository := printf "%s/%s" $image.repository $name -}}
{{- if gt (len .) 2 }}{{ $repository = default $repository (index . 2) }}{{ end -}}
{{- $tag := get $image.tags $name | default $image.tag | default $root.Chart.AppVersion -}}
{{- include "ironflow.image" (dict "root" $root "repository" $repository "tag" $tag "digest" (get $image.digests $name)) -}}
{{- end }}
