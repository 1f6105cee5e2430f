{{/* The environment that all services share; nothing in it is secret. A number from values is a float: 1e+12 is not
     what the services read. */}}
{{- define "hiper.configuration" -}}
{{- $values := .Values }}
{{- range $name, $value := $values.settings }}
{{ $name | snakecase | upper }}: {{ include "hiper.scalar" $value | quote }}
{{- end }}
OBJECT_STORE: minio
MINIO_ENDPOINT: {{ include "hiper.storeEndpoint" . | quote }}
MINIO_SECURE: {{ include "hiper.storeSecure" . | quote }}
{{- with include "hiper.clientCertificates" . }}
CLIENT_CERT_HEADER: {{ . | quote }}
{{- end }}
MINIO_CREDENTIALS: {{ include "hiper.storeCredentials" . | quote }}
MINIO_ADDRESSING: {{ $values.store.addressing | quote }}
MINIO_REGION: {{ $values.store.region | quote }}
{{- with $values.store.encryption }}
MINIO_SSE: {{ .kind | quote }}
MINIO_SSE_KMS_KEY_ID: {{ .kmsKeyId | quote }}
{{- end }}
TEMP_BUCKET: {{ $values.store.buckets.temp | quote }}
PERM_BUCKET: {{ $values.store.buckets.perm | quote }}
AUTH_BUCKET: {{ $values.store.buckets.auth | quote }}
EVENT_BUS: rabbitmq
ALGORITHM: {{ include "hiper.algorithm" . | quote }}
ACCESS_TOKEN_EXPIRE_MINUTES: {{ include "hiper.scalar" $values.tokens.expireMinutes | quote }}
TOKEN_ISSUER: {{ $values.tokens.issuer | quote }}
TOKEN_AUDIENCE: {{ $values.tokens.audience | quote }}
HOST: "::"
PORT: "8000"
METRICS_PORT: "9000"
SHUTDOWN_DELAY: {{ include "hiper.scalar" $values.shutdown.lingerSeconds | quote }}
DRAIN_TIMEOUT: {{ include "hiper.scalar" $values.shutdown.drainSeconds | quote }}
{{- end }}

{{- define "hiper.scalar" -}}
{{- if kindIs "map" . }}{{ toJson . }}{{ else if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end }}
{{- end }}
