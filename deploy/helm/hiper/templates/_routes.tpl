{{/* Which service answers which path of the one public host. What is not here (/metrics, the probes) stays inside. */}}
{{- define "hiper.routes" -}}
auth:
  - {path: /token, type: Exact}
  - {path: /devices, type: Prefix}
  - {path: /.well-known/jwks.json, type: Exact}
ingest:
  - {path: /upload, type: Exact}
  - {path: /files, type: Prefix}
  - {path: /docs, type: Prefix}
  - {path: /openapi.json, type: Exact}
  - {path: /static-offline-docs, type: Prefix}
{{- end }}
