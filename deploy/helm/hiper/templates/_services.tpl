{{/* The Service of a component that serves clients. Takes root, component. */}}
{{- define "hiper.service" -}}
{{- $service := (index .root.Values .component).service -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
  {{- with $service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type }}
  ipFamilyPolicy: {{ .root.Values.ipFamilyPolicy }}
  selector:
    {{- include "hiper.selector" . | nindent 4 }}
  ports:
    - name: http
      port: {{ $service.port }}
      targetPort: http
{{- end }}

{{/* A name for Prometheus to find a component's pods by: not that of the Service for clients, which may be open to the
     world. Takes root, component, suffix. */}}
{{- define "hiper.metricsService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  ipFamilyPolicy: {{ .root.Values.ipFamilyPolicy }}
  selector:
    {{- include "hiper.selector" . | nindent 4 }}
  ports:
    - name: metrics
      port: 9000
      targetPort: metrics
{{- end }}

{{/* Takes root, component. */}}
{{- define "hiper.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ (index .root.Values .component).pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "hiper.selector" . | nindent 6 }}
{{- end }}
