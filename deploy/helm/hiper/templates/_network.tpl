{{/* The NetworkPolicy of a component of the services. Takes root, component, clients (where it serves some: a list of
     components that are among them), and to: which of store, broker, issuer, limits it talks to. */}}
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
    {{- if .clients }}
    - ports: [{port: 8000, protocol: TCP}]
      {{- with include "hiper.from.clients" . | fromYamlArray }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    - ports: [{port: 9000, protocol: TCP}]
      from:
        {{- include "hiper.from.monitoring" .root | nindent 8 }}
  egress:
    - ports: [{port: {{ $policy.dnsPort }}, protocol: UDP}, {port: {{ $policy.dnsPort }}, protocol: TCP}]
    {{- range .to }}
    {{- include (printf "hiper.to.%s" .) $.root | nindent 4 }}
    {{- end }}
    {{- include "hiper.toPorts" (include "hiper.extraPorts" . | fromYamlArray) | nindent 4 }}
    {{- if eq .component "janitor" }}
    {{- with $policy.webhooks }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
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
{{- if eq (include "hiper.storeCredentials" .) "aws" }}
{{- /* Who lends keys: the STS, and the agent of EKS Pod Identity. Not the node: its role is for all that runs there. */}}
- ports: [{port: 443, protocol: TCP}]
- ports: [{port: 80, protocol: TCP}]
  to:
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: "fd00:ec2::23/128"}
{{- end }}
{{- end }}

{{- define "hiper.to.broker" -}}
- ports:
    {{- range (include "hiper.brokerPorts" . | fromYamlArray) }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
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

{{/* Where ingest reads the public keys that verify tokens. */}}
{{- define "hiper.to.issuer" -}}
{{- if include "hiper.asksAuth" . }}
{{- include "hiper.to.auth" . }}
{{- else if include "hiper.asymmetric" . }}
{{- include "hiper.toPorts" (include "hiper.portsOf" .Values.tokens.jwksUrl | fromYamlArray) }}
{{- end }}
{{- end }}

{{- define "hiper.to.limits" -}}
{{- include "hiper.toPorts" (include "hiper.limitsPorts" . | fromYamlArray) }}
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

{{/* Who may reach what clients use; nobody is left out if networkPolicy.clients is empty. Takes root and clients:
     components of this release. */}}
{{- define "hiper.from.clients" -}}
{{- with .root.Values.networkPolicy.clients }}
{{- toYaml . }}
{{- range $.clients }}
{{ include "hiper.peer" (dict "root" $.root "component" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who may reach /metrics: by default every pod of the cluster. */}}
{{- define "hiper.from.monitoring" -}}
{{- with .Values.networkPolicy.monitoring }}
{{- toYaml . }}
{{- else -}}
- namespaceSelector: {}
{{- end }}
{{- end }}
