{{/* Certificates of services and of the chart's NATS: who is named in them, and where they come from. */}}

{{/* Of (list $ "services"|"nats"). */}}
{{- define "ironflow.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.tls.mode "existingSecret" -}}
{{ get $root.Values.tls.existingSecret (index . 1) }}
{{- else -}}
{{ include "ironflow.fullname" $root }}-{{ index . 1 }}-tls
{{- end -}}
{{- end }}

{{/*
The names a certificate is good for, as a YAML list. Services share one, whose first name is the release's: monitoring asks pods by their
addresses, and expects that name of all of them.
*/}}
{{- define "ironflow.tlsNames" -}}
{{- $root := index . 0 -}}
{{- $domain := $root.Values.clusterDomain -}}
{{- $hosts := list -}}
{{- if eq (index . 1) "services" -}}
- {{ include "ironflow.fullname" $root }}
{{ range keys (include "ironflow.services" $root | fromYaml) | sortAlpha -}}
{{- $hosts = append $hosts (include "ironflow.serviceName" (list $root .)) -}}
{{- end -}}
{{- else -}}
- {{ printf "*.%s" (include "ironflow.natsDomain" $root) | quote }}
- localhost
{{ $hosts = list (include "ironflow.natsName" $root) -}}
{{- end -}}
{{- range $hosts -}}
- {{ . }}
- {{ . }}.{{ $root.Release.Namespace }}
- {{ . }}.{{ $root.Release.Namespace }}.svc
- {{ . }}.{{ $root.Release.Namespace }}.svc.{{ $domain }}
{{ end -}}
{{- end }}

{{/* Which certificates there are. */}}
{{- define "ironflow.certificates" -}}
{{- if include "ironflow.isHttps" . }}
- services
{{- end }}
{{- if .Values.nats.enabled }}
- nats
{{- end }}
{{- end }}

{{/*
Makes the authority and the certificates of mode `selfSigned`, or takes up those of the cluster, once in each rendering: Secrets and the
checksums of pods have to speak of the same ones. They are kept among the values for that, as `certificatesMade`.
*/}}
{{- define "ironflow.makeCertificates" -}}
{{- if not (hasKey .Values "certificatesMade") -}}
{{- $namespace := .Release.Namespace -}}
{{- $days := int .Values.tls.selfSigned.days -}}
{{- $now := now | unixEpoch | int64 -}}
{{- $kept := lookup "v1" "Secret" $namespace (printf "%s-ca" (include "ironflow.fullname" .)) -}}
{{- $authority := "" -}}
{{- if $kept -}}
{{- $authority = buildCustomCert (get $kept.data "tls.crt") (get $kept.data "tls.key") -}}
{{- else -}}
{{/* Ten years: it signs nothing but names within the cluster. */ -}}
{{- $authority = genCA (printf "%s authority" (include "ironflow.fullname" .)) 3650 -}}
{{- end -}}
{{- $made := dict "authority" (dict "cert" $authority.Cert "key" $authority.Key) -}}
{{- range include "ironflow.certificates" . | fromYamlArray -}}
{{- $names := include "ironflow.tlsNames" (list $ .) | fromYamlArray -}}
{{- $digest := $names | join "," | sha256sum -}}
{{- $old := lookup "v1" "Secret" $namespace (include "ironflow.tlsSecret" (list $ .)) -}}
{{- $marks := dict -}}
{{- if $old }}{{ $marks = $old.metadata.annotations | default dict }}{{ end -}}
{{- $renewAfter := get $marks "ironflow.dev/renew-after" | default "0" | int64 -}}
{{- if and (eq (get $marks "ironflow.dev/names") $digest) (lt $now $renewAfter) $kept -}}
{{- $_ := set $made . (dict "cert" (get $old.data "tls.crt" | b64dec) "key" (get $old.data "tls.key" | b64dec) "names" $digest "renewAfter" $renewAfter) -}}
{{- else -}}
{{- $new := genSignedCert "ironflow" (list "127.0.0.1") $names $days $authority -}}
{{- $renewAfter = add $now (mul $days 57600) -}}
{{- $_ := set $made . (dict "cert" $new.Cert "key" $new.Key "names" $digest "renewAfter" $renewAfter) -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Values "certificatesMade" $made -}}
{{- end -}}
{{- end }}

{{/* Pods start anew with a new certificate of the chart's own. Of (list $ "services"|"nats"). */}}
{{- define "ironflow.tlsChecksum" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.tls.mode "selfSigned" -}}
{{- include "ironflow.makeCertificates" $root -}}
{{- with get $root.Values.certificatesMade (index . 1) -}}
checksum/tls: {{ sha256sum .cert }}
{{- end -}}
{{- end -}}
{{- end }}
