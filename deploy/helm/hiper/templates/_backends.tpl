{{/* Where the store and the broker are, and which Secret opens what. */}}

{{- define "hiper.storeEndpoint" -}}
{{- if .Values.dev.enabled -}}
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
{{- else if $values.dev.enabled }}{{ include "hiper.fullname" .root }}-store-{{ .component }}
{{- else if $values.store.existingSecret }}{{ $values.store.existingSecret }}
{{- else }}
{{- $_ := required "store.existingSecret: set it, or store.accessKey and store.secretKey" $values.store.accessKey }}
{{- $_ := required "store.secretKey: it goes with store.accessKey" $values.store.secretKey -}}
{{ include "hiper.fullname" .root }}-store
{{- end }}
{{- end }}

{{/* The Secret with the AMQP URL of a component. Takes root and component. */}}
{{- define "hiper.brokerSecret" -}}
{{- $values := .root.Values }}
{{- $broker := $values.broker }}
{{- $own := (index $values .component).brokerSecret }}
{{- if $own }}{{ $own }}
{{- else if $values.dev.enabled }}{{ include "hiper.fullname" .root }}-broker-{{ .component }}
{{- else if $broker.rabbitmqCluster.create }}{{ include "hiper.fullname" .root }}-rabbitmq-default-user
{{- else if $broker.existingSecret }}{{ $broker.existingSecret }}
{{- else }}
{{- $_ := required "broker.existingSecret: set it, or broker.url, or broker.rabbitmqCluster.create, or dev.enabled" $broker.url -}}
{{ include "hiper.fullname" .root }}-broker
{{- end }}
{{- end }}

{{/* The key of the AMQP URL in that Secret: the RabbitMQ Cluster Operator has a name of its own for it. Takes root and
     component. */}}
{{- define "hiper.brokerKey" -}}
{{- $operators := and .root.Values.broker.rabbitmqCluster.create (not (index .root.Values .component).brokerSecret) }}
{{- $operators | ternary "connection_string" "RABBITMQ_URL" }}
{{- end }}

{{/* The Secret with LIMITS_STORAGE_URI; empty where each replica counts for itself. */}}
{{- define "hiper.limitsSecret" -}}
{{- $limits := .Values.limitsStorage }}
{{- if $limits.existingSecret }}{{ $limits.existingSecret }}
{{- else if $limits.uri }}{{ include "hiper.fullname" . }}-limits
{{- end }}
{{- end }}

{{/* tokens.algorithm; where it is empty, EdDSA. A release of version 0.1, whose Secret has nothing but a shared key, goes
     on with HS256 until the operator names another. */}}
{{- define "hiper.algorithm" -}}
{{- $tokens := .Values.tokens }}
{{- $secret := include "hiper.tokensSecret" . }}
{{- $has := dict }}
{{- range list "SECRET_KEY" "private.pem" }}
{{- $_ := set $has . (include "hiper.found" (dict "root" $ "secret" $secret "key" .)) }}
{{- end }}
{{- $shared := or $tokens.secretKey (and $has.SECRET_KEY (not (index $has "private.pem"))) | empty | not }}
{{- $tokens.algorithm | default ($shared | ternary "HS256" "EdDSA") }}
{{- end }}

{{- define "hiper.asymmetric" -}}
{{- if not (hasPrefix "HS" (include "hiper.algorithm" .)) }}true{{ end }}
{{- end }}

{{- define "hiper.tokensSecret" -}}
{{ .Values.tokens.existingSecret | default (printf "%s-tokens" (include "hiper.fullname" .)) }}
{{- end }}

{{- define "hiper.adminSecret" -}}
{{ .Values.admin.existingSecret | default (printf "%s-admin" (include "hiper.fullname" .)) }}
{{- end }}

{{/* Whether auth knows the device of `helm test`; not where devices must show a certificate, for it has none. */}}
{{- define "hiper.tested" -}}
{{- if and .Values.tests.enabled (not (include "hiper.clientCertificates" .)) }}true{{ end }}
{{- end }}

{{- define "hiper.testSecret" -}}
{{ include "hiper.fullname" . }}-test
{{- end }}

{{/* What a Secret of the cluster has under a key, in base64; empty where there is no Secret, or no cluster. Takes root,
     secret (name) and key. */}}
{{- define "hiper.found" -}}
{{- if .secret }}
{{- dig "data" .key "" (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) }}
{{- end }}
{{- end }}

{{/* A value of a Secret in base64: the one given; else the one that the cluster has, so that an upgrade keeps it; else
     the new one. Takes root, secret (name), key, given, new. */}}
{{- define "hiper.kept" -}}
{{- if .given }}{{ .given | b64enc }}
{{- else }}{{ include "hiper.found" . | default (.new | b64enc) }}
{{- end }}
{{- end }}
