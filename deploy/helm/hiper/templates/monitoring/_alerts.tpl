{{/* `job` is the component, by the ServiceMonitor; `service` sets this release apart from others in its namespace. */}}
{{- define "hiper.alerts" -}}
{{- $here := printf "namespace=\"%s\",service=~\"%s-(ingest|assembler|janitor|auth)\"" .Release.Namespace (include "hiper.fullname" .) -}}
- alert: HiperComponentDown
  expr: sum by (service) (up{ {{- $here -}} }) == 0
  for: 2m
  severity: critical
  summary: '{{ "No pod of {{ $labels.service }} answers Prometheus." }}'
- alert: HiperRequestsFail
  expr: |-
    sum by (service) (rate(hiper_http_requests_total{ {{- $here -}} ,route!~"/livez|/readyz|/metrics",status=~"5.."}[5m]))
      / sum by (service) (rate(hiper_http_requests_total{ {{- $here -}} ,route!~"/livez|/readyz|/metrics"}[5m])) > 0.05
  for: 5m
  severity: critical
  summary: '{{ "{{ $labels.service }} fails {{ $value | humanizePercentage }} of its requests." }}'
- alert: HiperTokensSlow
  expr: |-
    histogram_quantile(0.95, sum by (le) (rate(hiper_http_request_duration_seconds_bucket{ {{- $here -}} ,route="/token"}[5m]))) > 1
  for: 10m
  severity: warning
  summary: '{{ "One of 20 tokens takes longer than {{ $value | humanizeDuration }}." }}'
- alert: HiperNotReady
  expr: |-
    sum by (service) (rate(hiper_http_requests_total{ {{- $here -}} ,route="/readyz",status="503"}[5m])) > 0
  for: 5m
  severity: warning
  summary: '{{ "Pods of {{ $labels.service }} miss the store, the broker or the token keys." }}'
- alert: HiperEventsUnconfirmed
  expr: |-
    sum(increase(hiper_bus_events_published_total{ {{- $here -}} }[10m])) > 0
      unless sum(increase(hiper_bus_events_confirmed_total{ {{- $here -}} }[10m])) > 0
  for: 5m
  severity: critical
  summary: The broker confirms no event. Uploads go on; files become complete only as sweeps find them.
- alert: HiperEventsDropped
  expr: {{ include "hiper.anyOf" (list "hiper_bus_events_dropped_total" $here) | quote }}
  for: 0m
  severity: warning
  summary: Events were given up before the broker had them. Sweeps find what they were about.
- alert: HiperEventsNotDelivered
  expr: |-
    sum(increase(hiper_bus_events_confirmed_total{ {{- $here -}} ,type=~".*ChunkReceived.*"}[10m])) > 0
      unless sum(increase(hiper_bus_events_delivered_total{ {{- $here -}} }[10m])) > 0
  for: 5m
  severity: critical
  summary: The broker has events, and no assembler takes them.
- alert: HiperDeadLetters
  expr: {{ include "hiper.anyOf" (list "hiper_bus_events_dead_lettered_total" $here) | quote }}
  for: 0m
  severity: warning
  summary: '{{ "Events of type {{ $labels.type }} could not be handled and are in the queue assembler.dead." }}'
{{- end }}

{{/* Whether a counter grew in 15 minutes. Its first value is no growth to `increase`. Takes a list: name, matchers. */}}
{{- define "hiper.anyOf" -}}
{{- $metric := printf "%s{%s}" (index . 0) (index . 1) -}}
sum by (type) (increase({{ $metric }}[15m])) > 0 or sum by (type) ({{ $metric }} unless {{ $metric }} offset 15m) > 0
{{- end }}
