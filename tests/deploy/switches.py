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
    "broker": {"url": "amqp://user:given-broker@rabbitmq.example.com/"},
    "tokens": {"secretKey": "given-signing-" + "s" * 32},
    "admin": {"secret": "given-admin"},
}
CLUSTER: Values = merge(EXTERNAL, {"broker": {"existingSecret": "", "rabbitmqCluster": {"create": True}}})
PEER = {"namespaceSelector": {"matchLabels": {"name": "edge"}}}
SCHEDULING: Values = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
    "priorityClassName": "high",
    "podAnnotations": {"note": "x"},
    "podLabels": {"team": "fleet"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "storeSecret": "own-store",
}
EVERYTHING: Values = {
    **dict.fromkeys(("ingest", "assembler", "janitor", "auth"), SCHEDULING),
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
    "algorithm": {name: {"tokens": {"algorithm": name}} for name in ("HS256", "EdDSA", "RS256")},
    "public_keys": {"none": {}, "one": {"tokens": {"publicKeys": [PUBLIC_KEY]}}},
    "edge": {
        "none": {},
        "ingress": {"ingress": {"enabled": True, "host": "files.example.com"}},
        "plain": {"ingress": {"enabled": True, "host": "f.example.com", "nginx": False, "tls": {"enabled": False}}},
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
    "budgets": {"default": {}, "all": {"janitor": {"pdb": {"enabled": True}}}},
    "more": {"nothing": {}, "everything": EVERYTHING},
}


def values_of(row: Row) -> Values:
    values: Values = {}
    for switch, position in row.items():
        values = merge(values, SWITCHES[switch][position])
    return values


ROWS = pairwise({switch: [*positions] for switch, positions in SWITCHES.items()})
