{{/* The TCP ports that a URL leads to, one for each host in it, as a YAML list; empty for a scheme without a known port
     and no port in the URL. Takes the URL. */}}
{{- define "hiper.portsOf" -}}
{{- $scheme := regexFind "^[a-z][a-z0-9+-]*" (lower .) | splitList "+" | last }}
{{- $default := get (include "hiper.schemePorts" $scheme | fromYaml) $scheme }}
{{- $authority := regexReplaceAll "^[^:]*://" . "" | regexFind "^[^/?#]*" | regexFind "[^@]*$" }}
{{- $ports := list }}
{{- range splitList "," $authority }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $default) }}
{{- end }}
{{- range $ports | compact | uniq }}
- {{ . }}
{{- end }}
{{- end }}

{{/* https://www.iana.org/assignments/service-names-port-numbers, and of Redis and its kin their own documents. */}}
{{- define "hiper.schemePorts" -}}
amqp: 5672
amqps: 5671
cluster: 6379
etcd: 2379
http: 80
https: 443
memcached: 11211
mongodb: 27017
redis: 6379
rediss: 6379
sentinel: 26379
valkey: 6379
valkeys: 6379
{{- end }}

{{/* A rule for the ports of a list (NetworkPolicyEgressRule without `to`); nothing if the list is empty. */}}
{{- define "hiper.toPorts" -}}
{{- with . }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{/* The broker's ports: the one given; else that of the URL, which an install or upgrade reads from the Secret; else,
     where charts are rendered without a cluster, the two ports of AMQP. */}}
{{- define "hiper.brokerPorts" -}}
{{- $broker := .Values.broker }}
{{- $url := $broker.url | default (include "hiper.found" (dict "root" . "secret" $broker.existingSecret "key" "RABBITMQ_URL") | b64dec) }}
{{- if or .Values.dev.enabled $broker.rabbitmqCluster.create }}
- 5672
{{- else if $broker.port }}
- {{ $broker.port }}
{{- else if $url }}
{{- include "hiper.portsOf" $url }}
{{- else }}
- 5671
- 5672
{{- end }}
{{- end }}

{{/* Ports of the store of limits, where there is one. */}}
{{- define "hiper.limitsPorts" -}}
{{- $limits := .Values.limitsStorage }}
{{- $uri := $limits.uri | default (include "hiper.found" (dict "root" . "secret" $limits.existingSecret "key" "LIMITS_STORAGE_URI") | b64dec) }}
{{- if $uri }}
{{- include "hiper.portsOf" $uri }}
{{- else if $limits.existingSecret }}
- 6379
{{- end }}
{{- end }}

{{/* Ports of every URL among the further variables of a component, such as OTEL_EXPORTER_OTLP_ENDPOINT. Takes root and
     component. */}}
{{- define "hiper.extraPorts" -}}
{{- $ports := list }}
{{- range concat .root.Values.extraEnv (index .root.Values .component).extraEnv }}
{{- if regexMatch "^[A-Za-z][A-Za-z0-9+-]*://" (.value | default "") }}
{{- $ports = concat $ports (include "hiper.portsOf" .value | fromYamlArray) }}
{{- end }}
{{- end }}
{{- range $ports | uniq }}
- {{ . }}
{{- end }}
{{- end }}
