{{/* Where the store and the broker are, and which Secret opens what. */}}

{{- define "hiper.storeEndpoint" -}}
{{- if .Values.dev.enabled }}
{{- if .Values.store.endpoint }}{{ fail "store.endpoint: dev.enabled brings a store of its own; set one of the two" }}{{ end -}}
{{ include "hiper.fullname" . }}-minio:9000
{{- else }}
{{- required "store.endpoint: set it to host:port of the S3-compatible store, or set dev.enabled to try hiper out" .Values.store.endpoint }}
{{- end }}
{{- end }}

{{- define "hiper.storeSecure" -}}
{{ and .Values.store.secure (not .Values.dev.enabled) }}
{{- end }}

{{- define "hiper.storeCredentials" -}}
{{ .Values.dev.enabled | ternary "static" .Values.store.credentials }}
{{- end }}

{{- define "hiper.storePort" -}}
{{- $endpoint := include "hiper.storeEndpoint" . }}
{{- $given := regexFind ":[0-9]+$" $endpoint | trimPrefix ":" }}
{{- $given | default (eq (include "hiper.storeSecure" .) "true" | ternary "443" "80") }}
{{- end }}

{{/* The Secret with MINIO_ACCESS_KEY and MINIO_SECRET_KEY of a component. Takes root and component. */}}
{{- define "hiper.storeSecret" -}}
{{- $values := .root.Values }}
{{- $own := (index $values .component).storeSecret }}
{{- if $own }}{{ $own }}
{{- else if $values.dev.enabled }}{{ include "hiper.fullname" .root }}-minio
{{- else if $values.store.existingSecret }}{{ $values.store.existingSecret }}
{{- else }}
{{- $_ := required "store.existingSecret: set it, or store.accessKey and store.secretKey" $values.store.accessKey }}
{{- $_ := required "store.secretKey: it goes with store.accessKey" $values.store.secretKey -}}
{{ include "hiper.fullname" .root }}-store
{{- end }}
{{- end }}

{{- define "hiper.brokerSecret" -}}
{{- $broker := .Values.broker }}
{{- $ways := compact (list (.Values.dev.enabled | ternary "dev.enabled" "") ($broker.rabbitmqCluster.create | ternary "broker.rabbitmqCluster.create" "") ($broker.existingSecret | empty | ternary "" "broker.existingSecret") ($broker.url | empty | ternary "" "broker.url")) }}
{{- if gt (len $ways) 1 }}{{ fail (printf "broker: %s contradict one another; set one" (join ", " $ways)) }}{{ end }}
{{- if or .Values.dev.enabled }}{{ include "hiper.fullname" . }}-rabbitmq
{{- else if $broker.rabbitmqCluster.create }}{{ include "hiper.fullname" . }}-rabbitmq-default-user
{{- else if $broker.existingSecret }}{{ $broker.existingSecret }}
{{- else }}
{{- $_ := required "broker.existingSecret: set it, or broker.url, or broker.rabbitmqCluster.create, or dev.enabled" $broker.url -}}
{{ include "hiper.fullname" . }}-broker
{{- end }}
{{- end }}

{{/* The key of the AMQP URL in that Secret: the RabbitMQ Cluster Operator has a name of its own for it. */}}
{{- define "hiper.brokerKey" -}}
{{ .Values.broker.rabbitmqCluster.create | ternary "connection_string" "RABBITMQ_URL" }}
{{- end }}

{{- define "hiper.asymmetric" -}}
{{- if not (hasPrefix "HS" .Values.tokens.algorithm) }}true{{ end }}
{{- end }}

{{- define "hiper.tokensSecret" -}}
{{ .Values.tokens.existingSecret | default (printf "%s-tokens" (include "hiper.fullname" .)) }}
{{- end }}

{{- define "hiper.adminSecret" -}}
{{ .Values.admin.existingSecret | default (printf "%s-admin" (include "hiper.fullname" .)) }}
{{- end }}

{{/* A value of a Secret in base64: the one given; else the one that the cluster has, so that an upgrade keeps it; else
     the new one. Takes root, secret (name), key, given, new. */}}
{{- define "hiper.kept" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .secret | default dict }}
{{- if .given }}{{ .given | b64enc }}
{{- else }}{{ dig "data" .key "" $there | default (.new | b64enc) }}
{{- end }}
{{- end }}
