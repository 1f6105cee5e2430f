{{/* The secrets of a component, as sources of one projected volume: a file for each setting, in SECRETS_DIR. Files show
     in no `kubectl describe`, no crash report and no child's environment. Each component gets what it needs: workers no
     token keys, auth no broker, ingest no signing key that it could do without. Takes root and component. */}}
{{- define "hiper.secretSources" -}}
{{- $values := .root.Values }}
{{- if eq (include "hiper.storeCredentials" .root) "static" }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.storeSecret" .) "keys" (list "MINIO_ACCESS_KEY" "MINIO_SECRET_KEY")) }}
{{- end }}
{{- if ne .component "auth" }}
- secret:
    name: {{ include "hiper.brokerSecret" . }}
    items: [{key: {{ include "hiper.brokerKey" . }}, path: RABBITMQ_URL}]
{{- end }}
{{- if and (has .component (list "ingest" "auth")) (not (include "hiper.asymmetric" .root)) }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.tokensSecret" .root) "keys" (list "SECRET_KEY")) }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.tokensSecret" .root) "keys" (list "SECRET_KEY_PREVIOUS") "optional" true) }}
{{- end }}
{{- if eq .component "auth" }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.adminSecret" .root) "keys" (list "ADMIN_SECRET")) }}
{{- if include "hiper.tested" .root }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.testSecret" .root) "keys" (list "TEST_DEVICE_SECRET")) }}
{{- end }}
{{- end }}
{{- if and (eq .component "ingest") (include "hiper.limitsSecret" .root) }}
{{ include "hiper.secretFiles" (dict "secret" (include "hiper.limitsSecret" .root) "keys" (list "LIMITS_STORAGE_URI")) }}
{{- end }}
{{- end }}

{{/* Takes the Secret's name, keys and, if they may be missing, optional. */}}
{{- define "hiper.secretFiles" -}}
- secret:
    name: {{ .secret }}
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
    {{- if .optional }}
    optional: true
    {{- end }}
{{- end }}

{{/* One variable from a Secret. Takes a list: the Secret's name and the key in it. */}}
{{- define "hiper.fromSecret" -}}
valueFrom:
  secretKeyRef: {name: {{ index . 0 }}, key: {{ index . 1 }}}
{{- end }}
