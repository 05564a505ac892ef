{{/* What the CronJob of backups has beside the command: the login of services for NATS, and that of the storage. */}}

{{- define "ironflow.backupEnvMap" -}}
{{- $s3 := .Values.backup.s3 -}}
{{ include "ironflow.natsEnvMap" (list . "backup") }}
{{- if .Values.backup.target }}
AWS_REGION: {value: {{ $s3.region | quote }}}
AWS_ACCESS_KEY_ID: {{ include "ironflow.secretRef" (list $s3.existingSecret $s3.keys.accessKeyId) | fromYaml | toJson }}
AWS_SECRET_ACCESS_KEY: {{ include "ironflow.secretRef" (list $s3.existingSecret $s3.keys.secretAccessKey) | fromYaml | toJson }}
{{- with $s3.endpoint }}
AWS_ENDPOINT_URL_S3: {value: {{ . | quote }}}
{{- end }}
{{- if $s3.caSecret.name }}
NODE_EXTRA_CA_CERTS: {value: /etc/ironflow/storage-ca/ca.crt}
{{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.backupVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- include "ironflow.natsVolumes" (list . "backup") }}
{{- with .Values.backup.s3.caSecret }}
{{- if .name }}
{{ include "ironflow.secretVolume" (list "storage-ca" .name (dict .key "ca.crt")) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfBackup" -}}
{{- $backup := .Values.backup }}
{{- if $backup.enabled }}
{{- if and (not $backup.target) (not $backup.existingClaim) }}
{{- include "ironflow.problem" "backup.target: name a place, s3://<bucket>/<prefix>, or a volume with backup.existingClaim" }}
{{- end }}
{{- if and $backup.target $backup.existingClaim }}
{{- include "ironflow.problem" "backup.target and backup.existingClaim: backups go to one place; remove the other" }}
{{- end }}
{{- if and $backup.target (not $backup.s3.existingSecret) }}
{{- include "ironflow.problem" "backup.s3.existingSecret: name a Secret with the login of the storage" }}
{{- end }}
{{- end }}
{{- end }}
