{{/* Single nodes of MinIO and RabbitMQ, for trying hiper out. Take root and component: minio or rabbitmq. */}}

{{- define "hiper.devImage" -}}
{{ list .root.Values.image.registry (index .root.Values.dev .component).image | compact | join "/" }}
{{- end }}

{{- define "hiper.devService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  ipFamilyPolicy: {{ .root.Values.ipFamilyPolicy }}
  selector:
    {{- include "hiper.selector" . | nindent 4 }}
  ports:
    - name: {{ .component }}
      port: {{ .port }}
      targetPort: {{ .component }}
{{- end }}

{{/* Also takes port, path (of its data) and container (the name of a template with what is its own). */}}
{{- define "hiper.devStatefulSet" -}}
{{- $own := index .root.Values.dev .component -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "hiper.metadata" . | nindent 2 }}
spec:
  serviceName: {{ include "hiper.fullname" .root }}-{{ .component }}
  replicas: 1
  podManagementPolicy: Parallel  # otherwise an upgrade waits for a broken pod to get well, instead of replacing it
  selector:
    matchLabels:
      {{- include "hiper.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- with mergeOverwrite (dict) .root.Values.commonLabels (include "hiper.selector" . | fromYaml) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "hiper.podBase" .root | nindent 6 }}
      terminationGracePeriodSeconds: 30
      containers:
        - name: {{ .component }}
          image: {{ include "hiper.devImage" . | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            {{- toYaml .root.Values.securityContext | nindent 12 }}
          ports: [{name: {{ .component }}, containerPort: {{ .port }}}]
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          {{- include .container .root | nindent 10 }}
        {{- if eq .component "minio" }}
        {{- include "hiper.devStoreUsers" .root | nindent 8 }}
        {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
        {{- if eq .component "rabbitmq" }}
        - name: config
          secret:
            secretName: {{ include "hiper.fullname" .root }}-rabbitmq
            items: [{key: rabbitmq.conf, path: rabbitmq.conf}, {key: definitions.json, path: definitions.json}]
        {{- else }}
        {{- include "hiper.devMinioVolumes" .root | nindent 8 }}
        {{- end }}
        {{- if not $own.persistence.enabled }}
        - name: data
          emptyDir: {sizeLimit: {{ $own.persistence.size }}}
        {{- end }}
  {{- with $own.persistence }}
  {{- if .enabled }}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ .size }}}}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Also takes port, from: components of this release, and others: a list of NetworkPolicyPeer. Nothing is reached from
     there. */}}
{{- define "hiper.devNetworkPolicy" -}}
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
      from:
        {{- range .from }}
        {{- include "hiper.peer" (dict "root" $.root "component" .) | nindent 8 }}
        {{- end }}
        {{- with .others }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
