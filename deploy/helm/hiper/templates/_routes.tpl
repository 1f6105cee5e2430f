{{/* Which service answers which path of the one public host. What is not here (/metrics, the probes) stays inside. */}}
{{- define "hiper.routes" -}}
auth:
  - {path: /token, type: Exact}
  {{- if .Values.admin.public }}
  - {path: /devices, type: Prefix}
  {{- end }}
  - {path: /.well-known/jwks.json, type: Exact}
ingest:
  - {path: /upload, type: Exact}
  - {path: /files, type: Prefix}
  - {path: /uploads, type: Exact}
  - {path: /feed, type: Exact}
  - {path: /webhooks, type: Prefix}
  {{- if .Values.settings.docsEnabled }}
  - {path: /docs, type: Prefix}
  - {path: /openapi.json, type: Exact}
  - {path: /static-offline-docs, type: Prefix}
  {{- end }}
{{- end }}

{{/* The header in which the edge names the subject of the certificate that it verified; empty: devices need none. */}}
{{- define "hiper.clientCertificates" -}}
{{- if .Values.ingress.clientCertificates.enabled }}ssl-client-subject-dn
{{- else if .Values.httpRoute.clientCertificates.enabled }}{{ .Values.httpRoute.clientCertificates.header }}
{{- end }}
{{- end }}
