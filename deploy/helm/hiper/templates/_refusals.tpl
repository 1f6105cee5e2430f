{{/* Values that cannot work together, each with a sentence on what to do. All are shown at once. What one value alone
     can be is in values.schema.json. */}}
{{- define "hiper.refuse" -}}
{{- $found := list }}
{{- range list "images" "backends" "tokens" "sizes" "scaling" "edge" "network" "secrets" }}
{{- $found = concat $found (include (printf "hiper.refuse.%s" .) $ | fromYamlArray) }}
{{- end }}
{{- if $found }}{{ fail (join "\n- " $found | printf "\n- %s\n") }}{{ end }}
{{- end }}

{{- define "hiper.refuse.images" -}}
{{- $values := .Values }}
{{- $images := dict "image.registry, image.repository, image.tag" (include "hiper.image" .) }}
{{- if $values.dev.enabled }}
{{- range $name := list "minio" "rabbitmq" }}
{{- $_ := set $images (printf "image.registry, dev.%s.image" $name) (include "hiper.devImage" (dict "root" $ "component" $name)) }}
{{- end }}
{{- end }}
{{- range $names, $image := $images }}
{{- if not (regexMatch "^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$" $image) }}
- {{ printf "%s: together they are %q, which is no image name. Write no scheme, and no slash at the beginning or the end" $names $image | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hiper.refuse.backends" -}}
{{- $store := .Values.store }}
{{- $broker := .Values.broker }}
{{- $buckets := values $store.buckets }}
{{- if ne (len $buckets) (len (uniq $buckets)) }}
- "store.buckets: temp, perm and auth must be three buckets. Sweeps delete what they do not know in temp, and devices' secrets lie in auth"
{{- end }}
{{- if and .Values.dev.enabled (or $store.endpoint $store.existingSecret $store.accessKey) }}
- "store.endpoint, store.existingSecret, store.accessKey: dev.enabled brings a store of its own. Remove them, or set dev.enabled=false"
{{- end }}
{{- if and $store.existingSecret (or $store.accessKey $store.secretKey) }}
- "store.existingSecret and store.accessKey contradict one another: set one"
{{- end }}
{{- if and (eq $store.credentials "aws") (not .Values.dev.enabled) }}
{{- if or $store.existingSecret $store.accessKey }}
- "store.credentials=aws takes no keys from a Secret: remove store.existingSecret and store.accessKey, or set store.credentials=static"
{{- end }}
{{- range list "ingest" "assembler" "janitor" "auth" }}
{{- if (index $.Values .).storeSecret }}
- "{{ . }}.storeSecret: store.credentials=aws takes no keys from a Secret. Remove it, or set store.credentials=static"
{{- end }}
{{- end }}
{{- end }}
{{- if and $store.encryption.kmsKeyId (ne $store.encryption.kind "kms") }}
- "store.encryption.kmsKeyId goes with store.encryption.kind=kms"
{{- end }}
{{- $ways := compact (list (.Values.dev.enabled | ternary "dev.enabled" "") ($broker.rabbitmqCluster.create | ternary "broker.rabbitmqCluster.create" "") ($broker.existingSecret | empty | ternary "" "broker.existingSecret") ($broker.url | empty | ternary "" "broker.url")) }}
{{- if gt (len $ways) 1 }}
- "broker: {{ join ", " $ways }} contradict one another; set one"
{{- end }}
{{- if and $broker.url $broker.port (ne (toString $broker.port) (include "hiper.portsOf" $broker.url | fromYamlArray | first | toString)) }}
- "broker.port ({{ $broker.port }}) is not the port of broker.url: remove broker.port, the chart reads it from the URL"
{{- end }}
{{- if and $broker.clientCertificate (hasPrefix "amqp://" $broker.url) }}
- "broker.clientCertificate: a broker sees a certificate only through TLS. Write amqps:// in broker.url, or remove the certificate"
{{- end }}
{{- if and .Values.limitsStorage.existingSecret .Values.limitsStorage.uri }}
- "limitsStorage.existingSecret and limitsStorage.uri contradict one another: set one"
{{- end }}
{{- end }}

{{- define "hiper.refuse.tokens" -}}
{{- $tokens := .Values.tokens }}
{{- $algorithm := include "hiper.algorithm" . }}
{{- if and $tokens.existingSecret (or $tokens.secretKey $tokens.privateKey) }}
- "tokens.existingSecret contradicts tokens.secretKey and tokens.privateKey: set one"
{{- end }}
{{- if and .Values.admin.existingSecret .Values.admin.secret }}
- "admin.existingSecret and admin.secret contradict one another: set one"
{{- end }}
{{- if include "hiper.asymmetric" . }}
{{- if or $tokens.secretKey $tokens.secretKeyPrevious }}
- "tokens.secretKey, tokens.secretKeyPrevious: {{ $algorithm }} signs with a private key. Remove them, or set tokens.algorithm=HS256"
{{- end }}
{{- else if or $tokens.privateKey $tokens.publicKeys $tokens.jwksUrl }}
- "tokens.privateKey, tokens.publicKeys, tokens.jwksUrl: {{ $algorithm }} signs and verifies with one shared secret. Remove them, or set tokens.algorithm=EdDSA"
{{- end }}
{{- end }}

{{- define "hiper.refuse.sizes" -}}
{{- $settings := .Values.settings }}
{{- $ingest := .Values.ingest }}
{{- $own := 157286400 }}{{/* 150 MiB: what a pod of ingest takes without payloads */}}
{{- $limit := dig "limits" "memory" "" $ingest.resources }}
{{- if and $limit (gt (add (int64 $settings.memoryBudget) $own) (include "hiper.bytes" $limit | int64)) }}
- "settings.memoryBudget: {{ int64 $settings.memoryBudget }} bytes, and 150 MiB for the process itself, are more than ingest.resources.limits.memory ({{ $limit }}): the pod would be killed. Raise the limit, or lower the budget"
{{- end }}
{{- $spool := include "hiper.bytes" $ingest.spool.sizeLimit | int64 }}
{{- if gt (int64 $settings.maxChunkSize) $spool }}
- "settings.maxChunkSize ({{ int64 $settings.maxChunkSize }} bytes) does not fit into ingest.spool.sizeLimit ({{ $ingest.spool.sizeLimit }}): the pod would be evicted. Raise ingest.spool.sizeLimit"
{{- end }}
{{- $disk := dig "limits" "ephemeral-storage" "" $ingest.resources }}
{{- if and $disk (gt $spool (include "hiper.bytes" $disk | int64)) }}
- "ingest.spool.sizeLimit ({{ $ingest.spool.sizeLimit }}) is more than ingest.resources.limits.ephemeral-storage ({{ $disk }}): the pod would be evicted before the spool is full. Raise the limit"
{{- end }}
{{- range $component := list "ingest" "assembler" "janitor" "auth" }}
{{- $resources := (index $.Values $component).resources }}
{{- range $name, $request := dig "requests" dict $resources }}
{{- $most := dig "limits" $name "" $resources }}
{{- if and $most (ne $name "cpu") (gt (include "hiper.bytes" $request | int64) (include "hiper.bytes" $most | int64)) }}
- "{{ $component }}.resources: the request of {{ $name }} ({{ $request }}) is more than the limit ({{ $most }})"
{{- end }}
{{- end }}
{{- end }}
{{- if gt (int64 $settings.maxChunkSize) (int64 $settings.maxFileSize) }}
- "settings.maxChunkSize ({{ int64 $settings.maxChunkSize }}) is more than settings.maxFileSize ({{ int64 $settings.maxFileSize }}): no such chunk could ever come. Lower maxChunkSize"
{{- end }}
{{- if gt (float64 $settings.bodyIdleTimeout) (float64 $settings.bodyTimeout) }}
- "settings.bodyIdleTimeout ({{ $settings.bodyIdleTimeout }} s) is more than settings.bodyTimeout ({{ $settings.bodyTimeout }} s), which would end each body first. Lower it"
{{- end }}
{{- end }}

{{/* A quantity of Kubernetes in bytes, rounded down. */}}
{{- define "hiper.bytes" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 }}
{{- $text := include "hiper.scalar" . }}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text)) | floor | printf "%.0f" }}
{{- end }}

{{- define "hiper.refuse.scaling" -}}
{{- range $component := list "ingest" "assembler" }}
{{- $scaling := (index $.Values $component).autoscaling }}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
- "{{ $component }}.autoscaling: minReplicas ({{ $scaling.minReplicas }}) is more than maxReplicas ({{ $scaling.maxReplicas }})"
{{- end }}
{{- end }}
{{- if and .Values.ingest.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.ingest.resources)) }}
- "ingest.autoscaling aims at a percentage of ingest.resources.requests.cpu: set it"
{{- end }}
{{- end }}

{{- define "hiper.refuse.edge" -}}
{{- $ingress := .Values.ingress }}
{{- if $ingress.enabled }}
{{- if not $ingress.host }}
- "ingress.host: set the host name that devices use"
{{- end }}
{{- if not $ingress.className }}
- "ingress.className: name the class of your Ingress controller (kubectl get ingressclass). Chart 0.1 took `nginx`, whose controller is retired since March 2026: set it to stay there, or prefer httpRoute"
{{- end }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
- "httpRoute.parentRefs: name the Gateways to attach to"
{{- end }}
{{- if and $ingress.clientCertificates.enabled .Values.httpRoute.clientCertificates.enabled }}
- "ingress.clientCertificates and httpRoute.clientCertificates: the services take the certificate from one edge. Enable one of them"
{{- else if $ingress.clientCertificates.enabled }}
{{- if not $ingress.clientCertificates.caSecret }}
- "ingress.clientCertificates.caSecret: name the Secret with ca.crt"
{{- end }}
{{- if not (and $ingress.enabled $ingress.nginx $ingress.tls.enabled) }}
- "ingress.clientCertificates: needs ingress.enabled, ingress.nginx and ingress.tls.enabled"
{{- end }}
{{- if .Values.httpRoute.enabled }}
- "ingress.clientCertificates: set httpRoute.enabled to false; what comes through the Gateway shows no certificate"
{{- end }}
{{- else if .Values.httpRoute.clientCertificates.enabled }}
{{- if not .Values.httpRoute.enabled }}
- "httpRoute.clientCertificates: needs httpRoute.enabled"
{{- end }}
{{- if $ingress.enabled }}
- "httpRoute.clientCertificates: set ingress.enabled to false; what comes through the Ingress shows no certificate"
{{- end }}
{{- end }}
{{- if and (include "hiper.clientCertificates" .) (not (and .Values.networkPolicy.enabled .Values.networkPolicy.clients)) }}
- "clientCertificates: set networkPolicy.clients to the pods of the edge; whoever else reaches ingest could name any certificate"
{{- end }}
{{- end }}

{{- define "hiper.refuse.network" -}}
{{- $policy := .Values.networkPolicy }}
{{- if and (not $policy.enabled) (or $policy.clients $policy.monitoring $policy.store $policy.broker $policy.extraEgress) }}
- "networkPolicy.enabled=false makes no policy: what networkPolicy.clients, .monitoring, .store, .broker and .extraEgress say would not count. Remove them, or enable it"
{{- end }}
{{- if and .Values.serviceAccount.annotations (not .Values.serviceAccount.create) }}
- "serviceAccount.annotations: with serviceAccount.create=false the chart makes no service account to put them on. Put them on yours"
{{- end }}
{{- if and .Values.prometheusRule.enabled (not .Values.serviceMonitor.enabled) }}
- "prometheusRule.enabled: the alerts are about series of the ServiceMonitor. Set serviceMonitor.enabled too"
{{- end }}
{{- end }}

{{/* Secrets that are there, and lack a key; known only where Helm talks to the cluster. */}}
{{- define "hiper.refuse.secrets" -}}
{{- $values := .Values }}
{{- $key := include "hiper.asymmetric" . | empty | ternary "SECRET_KEY" "private.pem" }}
{{- $wanted := list (list "tokens.existingSecret" $values.tokens.existingSecret $key) (list "admin.existingSecret" $values.admin.existingSecret "ADMIN_SECRET") (list "limitsStorage.existingSecret" $values.limitsStorage.existingSecret "LIMITS_STORAGE_URI") (list "store.existingSecret" $values.store.existingSecret "MINIO_ACCESS_KEY" "MINIO_SECRET_KEY") (list "broker.existingSecret" $values.broker.existingSecret "RABBITMQ_URL") }}
{{- range $component := list "ingest" "assembler" "janitor" "auth" }}
{{- $own := index $values $component }}
{{- $wanted = append $wanted (list (printf "%s.storeSecret" $component) $own.storeSecret "MINIO_ACCESS_KEY" "MINIO_SECRET_KEY") }}
{{- $wanted = append $wanted (list (printf "%s.brokerSecret" $component) ($own.brokerSecret | default "") "RABBITMQ_URL") }}
{{- end }}
{{- range $value := $wanted }}
{{- if index $value 1 }}
{{- $there := lookup "v1" "Secret" $.Release.Namespace (index $value 1) | default dict }}
{{- range $key := slice $value 2 }}
{{- if and $there (not (hasKey (dig "data" dict $there) $key)) }}
- "{{ index $value 0 }}: the Secret {{ index $value 1 }} has no {{ $key }}"
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $admin := include "hiper.found" (dict "root" . "secret" (include "hiper.adminSecret" .) "key" "ADMIN_SECRET") | b64dec }}
{{- if and $admin (not $values.admin.secret) (lt (len $admin) 32) }}
- "ADMIN_SECRET in the Secret {{ include "hiper.adminSecret" . }} has {{ len $admin }} bytes; auth would not start with less than 32. Make a new one (openssl rand -hex 32)"
{{- end }}
{{- end }}
