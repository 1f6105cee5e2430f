{{- define "hiper.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "hiper.fullname" -}}
{{- $name := include "hiper.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What never changes: selectors are immutable. Takes root and component. */}}
{{- define "hiper.selector" -}}
app.kubernetes.io/name: {{ include "hiper.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes root and component. */}}
{{- define "hiper.labels" -}}
{{- with .root.Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
{{ include "hiper.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes root, component and, where it is not the component's name, suffix. */}}
{{- define "hiper.metadata" -}}
name: {{ include "hiper.fullname" .root }}-{{ .suffix | default .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "hiper.labels" . | nindent 2 }}
{{- end }}

{{- define "hiper.image" -}}
{{- $image := .Values.image }}
{{- $name := list $image.registry $image.repository | compact | join "/" }}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "hiper.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "hiper.fullname" .) "default") }}
{{- end }}
