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
  selector:
    {{- include "hiper.selector" . | nindent 4 }}
  ports:
    - name: http
      port: {{ $service.port }}
      targetPort: http
{{- end }}

{{/* A name for Prometheus to find a worker's pods by. Takes root, component. */}}
{{- define "hiper.metricsService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "hiper.selector" . | nindent 4 }}
  ports:
    - name: http
      port: 9000
      targetPort: http
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
