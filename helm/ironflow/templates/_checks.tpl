{{/*
What values.schema.json cannot say: values that do not go together, and what production is held to. A YAML list of sentences; each names the
value, and what to do.
*/}}
{{- define "ironflow.problems" -}}
{{- include "ironflow.problemsOfSecrets" . -}}
{{- include "ironflow.problemsOfNats" . -}}
{{- include "ironflow.problemsOfTls" . -}}
{{- include "ironflow.problemsOfServices" . -}}
{{- include "ironflow.problemsOfDoors" . -}}
{{- include "ironflow.problemsOfBackup" . -}}
{{- if eq .Values.profile "production" }}{{ include "ironflow.problemsOfProduction" . }}{{ end -}}
{{- end }}

{{- define "ironflow.problem" }}
- {{ . | quote }}
{{- end }}

{{- define "ironflow.problemsOfSecrets" -}}
{{- if not .Values.secrets.existingSecret }}
{{- include "ironflow.problem" "secrets.existingSecret: name a Secret with the master key and the key of an operator" }}
{{- end }}
{{- if not .Values.postgres.existingSecret }}
{{- include "ironflow.problem" "postgres.existingSecret: name a Secret with the URLs of the database" }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfNats" -}}
{{- $nats := .Values.nats }}
{{- $external := .Values.externalNats }}
{{- if and $nats.enabled $external.urls }}
{{- include "ironflow.problem" "nats.enabled and externalNats.urls: the platform has one NATS; set nats.enabled to false, or remove the URLs" }}
{{- end }}
{{- if and (not $nats.enabled) (not $external.urls) }}
{{- include "ironflow.problem" "externalNats.urls: with nats.enabled false the addresses of your servers are needed" }}
{{- end }}
{{- if $nats.enabled }}
{{- if not (has (int $nats.replicas) (list 1 3 5)) }}
{{- include "ironflow.problem" "nats.replicas: 1, 3 or 5; an even number survives no more than the one below it" }}
{{- end }}
{{- if gt (int $nats.streamReplicas) (int $nats.replicas) }}
{{- include "ironflow.problem" (printf "nats.streamReplicas: %d copies of a stream do not fit on nats.replicas, which is %d" (int $nats.streamReplicas) (int $nats.replicas)) }}
{{- end }}
{{- if and (ne $nats.auth.mode "generated") (not $nats.auth.existingSecret) }}
{{- include "ironflow.problem" (printf "nats.auth.existingSecret: auth.mode %s needs a Secret" $nats.auth.mode) }}
{{- end }}
{{- else }}
{{- $auth := $external.auth }}
{{- if and (has $auth.mode (list "user" "token" "creds")) (not $auth.existingSecret) }}
{{- include "ironflow.problem" (printf "externalNats.auth.existingSecret: auth.mode %s needs a Secret" $auth.mode) }}
{{- end }}
{{- if and (eq $auth.mode "certificate") (not $external.tls.clientSecret) }}
{{- include "ironflow.problem" "externalNats.tls.clientSecret: auth.mode certificate needs a Secret with one" }}
{{- end }}
{{- if and (eq $auth.mode "none") (not $external.tls.clientSecret) (not (has "anonymous-nats" .Values.acceptRisks)) }}
{{- include "ironflow.problem" "externalNats.auth.mode: services show the servers no credentials; choose one, or accept the risk anonymous-nats" }}
{{- end }}
{{- range $external.urls }}
{{- if and (not (regexMatch "^(tls|wss)://" .)) (not $external.tls.caSecret) (not (has "plain-nats" $.Values.acceptRisks)) }}
{{- include "ironflow.problem" (printf "externalNats.urls: %s is spoken to in the open; use tls://, or accept the risk plain-nats" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfTls" -}}
{{- $tls := .Values.tls }}
{{- if and (not (include "ironflow.isHttps" .)) (not (has "plain-http" .Values.acceptRisks)) }}
{{- include "ironflow.problem" "tls: services would listen in the open; choose a tls.mode and tls.http, or accept the risk plain-http" }}
{{- end }}
{{- if and (eq $tls.mode "none") .Values.nats.enabled (not (has "plain-nats" .Values.acceptRisks)) }}
{{- include "ironflow.problem" "tls.mode: NATS would be spoken to in the open; choose one, or accept the risk plain-nats" }}
{{- end }}
{{- if eq $tls.mode "existingSecret" }}
{{- if and $tls.http (not $tls.existingSecret.services) }}
{{- include "ironflow.problem" "tls.existingSecret.services: name a Secret with tls.crt, tls.key and ca.crt of the services" }}
{{- end }}
{{- if and .Values.nats.enabled (not $tls.existingSecret.nats) }}
{{- include "ironflow.problem" "tls.existingSecret.nats: name a Secret with tls.crt, tls.key and ca.crt of the servers of NATS" }}
{{- end }}
{{- end }}
{{- if and (eq $tls.mode "certManager") (not $tls.certManager.issuerRef.name) }}
{{- include "ironflow.problem" "tls.certManager.issuerRef.name: name the issuer" }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfServices" -}}
{{- $connections := 0 }}
{{- range $name, $facts := include "ironflow.services" . | fromYaml }}
{{- $settings := include "ironflow.settings" (list $ $name) | fromYaml }}
{{- $scaling := $settings.autoscaling }}
{{- $least := include "ironflow.gracePeriodMin" (list $ $name $settings) | int }}
{{- $given := int $settings.terminationGracePeriodSeconds }}
{{- if and $given (lt $given $least) }}
{{- include "ironflow.problem" (printf "services.%s.terminationGracePeriodSeconds: %d would kill it while it hands its work over, for which it may take %d" $name $given $least) }}
{{- end }}
{{- if and (eq $scaling.mode "keda") (ne $name "executor") }}
{{- include "ironflow.problem" (printf "services.%s.autoscaling.mode: keda scales the executor alone, by the backlog of executors; use hpa" $name) }}
{{- end }}
{{- if and (ne $scaling.mode "none") (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- include "ironflow.problem" (printf "services.%s.autoscaling: minReplicas is more than maxReplicas" $name) }}
{{- end }}
{{- if and (eq $scaling.mode "hpa") (not (dig "requests" "cpu" "" $settings.resources)) }}
{{- include "ironflow.problem" (printf "services.%s.resources.requests.cpu: hpa scales by the share of it that is used" $name) }}
{{- end }}
{{- /* One pod more during a rollout. */}}
{{- $pods := include "ironflow.replicasMax" $settings | int | add 1 }}
{{- $connections = add $connections (mul $pods (int $settings.databaseConnections)) }}
{{- if eq $name "api" }}{{ $connections = add $connections (mul $pods 2) }}{{ end }}
{{- end }}
{{- range $name, $_ := .Values.services }}
{{- if not (hasKey (include "ironflow.services" $ | fromYaml) $name) }}
{{- include "ironflow.problem" (printf "services.%s: there is no such service" $name) }}
{{- end }}
{{- end }}
{{- $most := int .Values.postgres.connectionsMax }}
{{- if and $most (gt (int $connections) $most) }}
{{- include "ironflow.problem" (printf "postgres.connectionsMax: services could ask for %d connections, and the server has %d; lower replicas, maxReplicas or databaseConnections, or put a pool between" (int $connections) $most) }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfDoors" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- include "ironflow.problem" "ingress.host: name the host of the platform's URL" }}
{{- end }}
{{- $route := .Values.httpRoute }}
{{- if $route.enabled }}
{{- if not $route.parentRefs }}
{{- include "ironflow.problem" "httpRoute.parentRefs: name a Gateway" }}
{{- end }}
{{- if not (or $route.hostnames .Values.ingress.host) }}
{{- include "ironflow.problem" "httpRoute.hostnames: name the host of the platform's URL" }}
{{- end }}
{{- if and (include "ironflow.isHttps" .) (ne .Values.tls.mode "selfSigned") (not $route.caConfigMap) }}
{{- include "ironflow.problem" "httpRoute.caConfigMap: name a ConfigMap with the authority of the services' certificate, which Gateways do not read from Secrets" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ironflow.problemsOfProduction" -}}
{{- $nats := .Values.nats }}
{{- if .Values.acceptRisks }}
{{- include "ironflow.problem" (printf "acceptRisks: production takes none, and %s would be; with profile dev it is your decision" (join ", " .Values.acceptRisks)) }}
{{- end }}
{{- if and $nats.enabled (lt (int $nats.replicas) 3) }}
{{- include "ironflow.problem" (printf "nats.replicas: production needs 3 servers, not %d: with fewer the platform stands still while one is away" (int $nats.replicas)) }}
{{- end }}
{{- if lt (int $nats.streamReplicas) 3 }}
{{- include "ironflow.problem" (printf "nats.streamReplicas: production needs 3 copies, not %d" (int $nats.streamReplicas)) }}
{{- end }}
{{- if and $nats.enabled (not $nats.jetstream.syncAlways) }}
{{- include "ironflow.problem" "nats.jetstream.syncAlways: without it a power failure takes messages that were acknowledged" }}
{{- end }}
{{- range $name, $facts := include "ironflow.services" . | fromYaml }}
{{- $settings := include "ironflow.settings" (list $ $name) | fromYaml }}
{{- $least := include "ironflow.replicasMin" $settings | int }}
{{- if lt $least 2 }}
{{- include "ironflow.problem" (printf "services.%s: production needs at least 2 replicas, not %d" $name $least) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.tls.secretName) }}
{{- include "ironflow.problem" "ingress.tls.secretName: keys would cross the network in the open" }}
{{- end }}
{{- end }}
