{{/* The environment of a component: what differs between components. What all share is in the ConfigMap, and what is
     secret in files. Takes root and component. */}}
{{- define "hiper.env" -}}
{{- $values := .root.Values }}
{{- $env := dict "SECRETS_DIR" (dict "value" "/etc/hiper/secrets") }}
{{- if has .component (list "ingest" "auth") }}
{{- $_ := merge $env (include "hiper.tokenEnv" . | fromYaml) }}
{{- end }}
{{- if and (eq .component "auth") (not $values.admin.public) }}
{{- $_ := set $env "ADMIN_API_PORT" (dict "value" "8001") }}
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
{{- end }}
{{- end }}
