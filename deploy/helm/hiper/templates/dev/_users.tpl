{{/* The users that the stores of `dev.enabled` have for the services: as real ones should, one for each, with no more
     rights than it needs. */}}

{{/* The Secret with a component's own credentials. Takes root, component, of (store or broker) and data. */}}
{{- define "hiper.devUserSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "hiper.metadata" (merge (dict "suffix" (printf "%s-%s" .of .component)) .) | nindent 2 }}
data:
  {{- range $key, $value := .data }}
  {{ $key }}: {{ $value | b64enc }}
  {{- end }}
{{- end }}

{{/* A password that stays. Takes root, component, of and key. */}}
{{- define "hiper.devPassword" -}}
{{- $secret := printf "%s-%s-%s" (include "hiper.fullname" .root) .of .component }}
{{- include "hiper.kept" (dict "root" .root "secret" $secret "key" .key "given" "" "new" (randAlphaNum 40)) | b64dec }}
{{- end }}

{{/* A policy document of files/policies, for the buckets of the values. Takes root and component. */}}
{{- define "hiper.policy" -}}
{{- $text := .root.Files.Get (printf "files/policies/%s.json" .component) }}
{{- range $name, $bucket := .root.Values.store.buckets }}
{{- $text = regexReplaceAllLiteral (printf "arn:aws:s3:::hiper-%s\\b" $name) $text (printf "arn:aws:s3:::%s" $bucket) }}
{{- end }}
{{- $text }}
{{- end }}
