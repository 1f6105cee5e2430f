{{/* The Deployment of a component. Takes root, component, serves (whether it has a port for clients) and scaled (by
     somebody else). */}}
{{- define "hiper.deployment" -}}
{{- $own := index .root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  {{- if not .scaled }}
  replicas: {{ $own.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "hiper.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  template:
    metadata:
      annotations:
        checksum/config: {{ include "hiper.checksum" .root }}
        {{- with $own.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      labels:
        {{- with mergeOverwrite (dict) .root.Values.commonLabels $own.podLabels (include "hiper.selector" . | fromYaml) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "hiper.podSpec" . | nindent 6 }}
{{- end }}

{{/* Pods start anew when these change. Not the Secrets' own contents: generated ones would differ in every rendering. */}}
{{- define "hiper.checksum" -}}
{{- $values := .Values }}
{{- $secrets := list $values.store $values.broker $values.tokens $values.admin $values.limitsStorage }}
{{- printf "%s%s" (include "hiper.configuration" .) ($secrets | toJson) | sha256sum }}
{{- end }}

{{- define "hiper.podSpec" -}}
{{- $root := .root }}
{{- $own := index $root.Values .component }}
{{- $shutdown := $root.Values.shutdown -}}
{{ include "hiper.podBase" $root }}
{{- /* after the drain: the last acknowledgements to the broker, and the interpreter's end */}}
terminationGracePeriodSeconds: {{ add $shutdown.preStopSeconds $shutdown.lingerSeconds $shutdown.drainSeconds 15 }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- with $own.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hiper.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
containers:
  - name: {{ .component }}
    {{- include "hiper.container" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: {{ dig "spool" "sizeLimit" "64Mi" $own }}
  {{- include "hiper.volumes" . | nindent 2 }}
  {{- with $own.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What every pod has that runs the services' image. */}}
{{- define "hiper.podBase" -}}
serviceAccountName: {{ include "hiper.serviceAccount" . }}
automountServiceAccountToken: false
{{- /* a Service called `metrics` would set METRICS_PORT */}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{- define "hiper.container" -}}
image: {{ include "hiper.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- /* why a process ended: its last lines, in `kubectl describe pod` */}}
terminationMessagePolicy: FallbackToLogsOnError
args: [services.{{ .component }}]
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
envFrom:
  - configMapRef:
      name: {{ include "hiper.fullname" .root }}
env:
  {{- include "hiper.env" . | nindent 2 }}
ports:
  {{- if .serves }}
  - name: http
    containerPort: 8000
  {{- end }}
  - name: metrics
    containerPort: 9000
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
{{- with .root.Values.shutdown.preStopSeconds }}
lifecycle:
  preStop:
    sleep: {seconds: {{ . }}}
{{- end }}
resources:
  {{- toYaml (index .root.Values .component).resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- range (include "hiper.volumes" . | fromYamlArray) }}
  - name: {{ .name }}
    mountPath: /etc/hiper/{{ .name }}
    readOnly: true
  {{- end }}
  {{- with (index .root.Values .component).extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Files of a component, each volume mounted at /etc/hiper/{its name}. Only auth gets the private key. */}}
{{- define "hiper.volumes" -}}
{{- $values := .root.Values }}
{{- with include "hiper.secretSources" . | trim }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- $tokens := and (include "hiper.asymmetric" .root) (has .component (list "ingest" "auth")) }}
{{- if and $tokens (eq .component "auth") }}
- name: signing
  secret:
    secretName: {{ include "hiper.tokensSecret" .root }}
    defaultMode: 0440
    items: [{key: private.pem, path: private.pem}]
{{- end }}
{{- if and $tokens $values.tokens.publicKeys }}
- name: public
  configMap:
    name: {{ include "hiper.fullname" .root }}-public-keys
{{- end }}
{{- if and $values.broker.clientCertificate (ne .component "auth") }}
- name: broker
  secret:
    secretName: {{ $values.broker.clientCertificate }}
    defaultMode: 0440
{{- end }}
{{- if $values.trust.existingConfigMap }}
- name: trust
  configMap:
    name: {{ $values.trust.existingConfigMap }}
    items: [{key: {{ $values.trust.key }}, path: ca.crt}]
{{- end }}
{{- end }}
