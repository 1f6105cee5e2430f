{{/* The environment of a component: what differs between components, and what is secret. The rest is in the ConfigMap.
     Each gets what it needs: workers no token keys, auth no broker, ingest no signing key that it could do without.
     Takes root and component. */}}
{{- define "hiper.env" -}}
{{- $values := .root.Values }}
{{- $env := dict }}
{{- if eq (include "hiper.storeCredentials" .root) "static" }}
{{- $store := include "hiper.storeSecret" . }}
{{- $_ := set $env "MINIO_ACCESS_KEY" (include "hiper.fromSecret" (list $store "MINIO_ACCESS_KEY") | fromYaml) }}
{{- $_ := set $env "MINIO_SECRET_KEY" (include "hiper.fromSecret" (list $store "MINIO_SECRET_KEY") | fromYaml) }}
{{- end }}
{{- if ne .component "auth" }}
{{- $_ := set $env "RABBITMQ_URL" (include "hiper.fromSecret" (list (include "hiper.brokerSecret" .root) (include "hiper.brokerKey" .root)) | fromYaml) }}
{{- end }}
{{- if has .component (list "ingest" "auth") }}
{{- $_ := merge $env (include "hiper.tokenEnv" . | fromYaml) }}
{{- end }}
{{- if eq .component "auth" }}
{{- $_ := set $env "ADMIN_SECRET" (include "hiper.fromSecret" (list (include "hiper.adminSecret" .root) "ADMIN_SECRET") | fromYaml) }}
{{- end }}
{{- if $values.trust.existingConfigMap }}
{{- $_ := set $env "TLS_CA_FILE" (dict "value" "/etc/hiper/trust/ca.crt") }}
{{- end }}
{{- if and $values.broker.clientCertificate (ne .component "auth") }}
{{- $_ := set $env "RABBITMQ_CERT_FILE" (dict "value" "/etc/hiper/broker/tls.crt") }}
{{- $_ := set $env "RABBITMQ_KEY_FILE" (dict "value" "/etc/hiper/broker/tls.key") }}
{{- end }}
{{- range concat $values.extraEnv (index $values .component).extraEnv }}
{{- $_ := set $env .name (omit . "name") }}
{{- end }}
{{- range $name, $entry := $env }}
- name: {{ $name }}
  {{- toYaml $entry | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes a list: the Secret's name, the key in it and, if it may be missing, true. */}}
{{- define "hiper.fromSecret" -}}
valueFrom:
  secretKeyRef:
    name: {{ index . 0 }}
    key: {{ index . 1 }}
    {{- if gt (len .) 2 }}
    optional: true
    {{- end }}
{{- end }}

{{- define "hiper.tokenEnv" -}}
{{- $tokens := .root.Values.tokens }}
{{- if include "hiper.asymmetric" .root }}
{{- if eq .component "auth" }}
PRIVATE_KEY_FILE:
  value: /etc/hiper/signing/private.pem
{{- else }}
JWKS_URL:
  value: {{ $tokens.jwksUrl | default (printf "http://%s-auth:%v/.well-known/jwks.json" (include "hiper.fullname" .root) .root.Values.auth.service.port) | quote }}
{{- end }}
{{- with $tokens.publicKeys }}
PUBLIC_KEY_FILES:
  value: '[{{ range $i, $_ := . }}{{ if $i }}, {{ end }}"/etc/hiper/public/{{ $i }}.pem"{{ end }}]'
{{- end }}
{{- else }}
{{- $secret := include "hiper.tokensSecret" .root }}
SECRET_KEY:
  {{- include "hiper.fromSecret" (list $secret "SECRET_KEY") | nindent 2 }}
SECRET_KEY_PREVIOUS:
  {{- include "hiper.fromSecret" (list $secret "SECRET_KEY_PREVIOUS" true) | nindent 2 }}
{{- end }}
{{- end }}
