"""The chart's switches: what each position of each adds to the values."""

from typing import Any

from tests.deploy.chart import DEV, EXTERNAL, PUBLIC_KEY, ROUTE, merge
from tests.deploy.pairs import Row, pairwise

Values = dict[str, Any]
GIVEN: Values = {
    "store": {
        "endpoint": "minio.example.com",
        "secure": False,
        "accessKey": "access",
        "secretKey": "given-store",
    },
    "broker": {"url": "amqps://user:given-broker@rabbitmq.example.com/"},
    "limitsStorage": {"uri": "redis://:given-limits@redis.example.com:6380/0"},
    "admin": {"secret": "given-admin-" + "a" * 32},
}
CLUSTER: Values = merge(EXTERNAL, {"broker": {"existingSecret": "", "rabbitmqCluster": {"create": True}}})
PEER = {"namespaceSelector": {"matchLabels": {"name": "edge"}}}
INGRESS: Values = {"enabled": True, "className": "nginx", "host": "files.example.com"}
SCHEDULING: Values = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
    "priorityClassName": "high",
    "podAnnotations": {"note": "x"},
    "podLabels": {"team": "fleet"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "storeSecret": "own-store",
}
EVERYTHING: Values = {
    **{name: {**SCHEDULING, "brokerSecret": "own-broker"} for name in ("ingest", "assembler", "janitor")},
    "auth": SCHEDULING,
    "ipFamilyPolicy": "RequireDualStack",
    "commonLabels": {"owner": "fleet"},
    "image": {"registry": "registry.example.com", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "trust": {"existingConfigMap": "bundle"},
    "store": {"encryption": {"kind": "kms", "kmsKeyId": "fleet-key"}},
    "broker": {"clientCertificate": "broker-client"},
    "extraEnv": [{"name": "LOG_LEVEL", "value": "DEBUG"}],
    "serviceAccount": {"create": False},
}

SWITCHES: dict[str, dict[str, Values]] = {
    "backends": {"dev": DEV, "existing": EXTERNAL, "given": GIVEN, "operator": CLUSTER},
    "tokens": {
        "default": {},
        "shared": {"tokens": {"existingSecret": "", "algorithm": "HS256", "secretKey": "given-signing-" + "s" * 32}},
        "rotation": {"tokens": {"algorithm": "RS256", "publicKeys": [PUBLIC_KEY]}},
        "elsewhere": {"tokens": {"algorithm": "ES256", "jwksUrl": "https://issuer.example.com/keys"}},
    },
    "edge": {
        "none": {},
        "ingress": {"ingress": INGRESS},
        "plain": {"ingress": {**INGRESS, "className": "traefik", "nginx": False, "tls": {"enabled": False}}},
        "gateway": ROUTE,
    },
    "scaling": {
        "off": {},
        "on": {name: {"autoscaling": {"enabled": True}} for name in ("ingest", "assembler")},
    },
    "network": {
        "open": {},
        "off": {"networkPolicy": {"enabled": False}},
        "closed": {
            "networkPolicy": {
                **{name: [PEER] for name in ("clients", "monitoring", "store", "broker")},
                "extraEgress": [{"to": [PEER]}],
            }
        },
    },
    "monitoring": {
        "off": {},
        "on": {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "dashboards")},
    },
    "disks": {
        "on": {},
        "off": {"dev": {name: {"persistence": {"enabled": False}} for name in ("minio", "rabbitmq")}},
    },
    "admin": {"public": {}, "inside": {"admin": {"public": False}}},
    "budgets": {"default": {}, "all": {"janitor": {"pdb": {"enabled": True}}}},
    "more": {"nothing": {}, "everything": EVERYTHING},
}


def values_of(row: Row) -> Values:
    values: Values = {}
    for switch, position in row.items():
        values = merge(values, SWITCHES[switch][position])
    return values


ROWS = pairwise({switch: [*positions] for switch, positions in SWITCHES.items()})
