{{/* The NetworkPolicy of a component of the services. Takes root, component, from (NetworkPolicyPeers; none: everybody),
     port, and to: which of store, broker, auth it talks to. */}}
{{- define "hiper.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "hiper.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{port: {{ .port }}, protocol: TCP}]
      {{- with .from }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  egress:
    - ports: [{port: {{ $policy.dnsPort }}, protocol: UDP}, {port: {{ $policy.dnsPort }}, protocol: TCP}]
    {{- range .to }}
    {{- include (printf "hiper.to.%s" .) $.root | nindent 4 }}
    {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Pods of this release. Takes root and component. */}}
{{- define "hiper.peer" -}}
- podSelector:
    matchLabels:
      {{- include "hiper.selector" . | nindent 6 }}
{{- end }}

{{/* Whether ingest reads the public keys from this release's auth. */}}
{{- define "hiper.asksAuth" -}}
{{- if and (include "hiper.asymmetric" .) (not .Values.tokens.jwksUrl) }}true{{ end }}
{{- end }}

{{- define "hiper.to.store" -}}
- ports: [{port: {{ include "hiper.storePort" . }}, protocol: TCP}]
  {{- if .Values.dev.enabled }}
  to:
    {{- include "hiper.peer" (dict "root" . "component" "minio") | nindent 4 }}
  {{- else if .Values.networkPolicy.store }}
  to:
    {{- toYaml .Values.networkPolicy.store | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "hiper.to.broker" -}}
- ports: [{port: {{ or .Values.dev.enabled .Values.broker.rabbitmqCluster.create | ternary 5672 .Values.broker.port }}, protocol: TCP}]
  {{- if .Values.dev.enabled }}
  to:
    {{- include "hiper.peer" (dict "root" . "component" "rabbitmq") | nindent 4 }}
  {{- else if .Values.broker.rabbitmqCluster.create }}
  to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: {{ include "hiper.fullname" . }}-rabbitmq
  {{- else if .Values.networkPolicy.broker }}
  to:
    {{- toYaml .Values.networkPolicy.broker | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "hiper.to.auth" -}}
- ports: [{port: 8000, protocol: TCP}]
  to:
    {{- include "hiper.peer" (dict "root" . "component" "auth") | nindent 4 }}
{{- end }}

{{- define "hiper.to.ingest" -}}
- ports: [{port: 8000, protocol: TCP}]
  to:
    {{- include "hiper.peer" (dict "root" . "component" "ingest") | nindent 4 }}
{{- end }}

{{/* Who may reach what clients use: `networkPolicy.clients` and who scrapes the metrics; nobody is left out if clients
     is empty. Takes root and more: components of this release. */}}
{{- define "hiper.from.clients" -}}
{{- with .root.Values.networkPolicy.clients }}
{{- toYaml . }}
{{- with $.root.Values.networkPolicy.monitoring }}
{{ toYaml . }}
{{- end }}
{{- range $.more }}
{{ include "hiper.peer" (dict "root" $.root "component" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hiper.from.monitoring" -}}
{{- with .Values.networkPolicy.monitoring }}
{{- toYaml . }}
{{- else -}}
- namespaceSelector: {}
{{- end }}
{{- end }}
