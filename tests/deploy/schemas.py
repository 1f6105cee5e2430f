"""Strict schemas of Kubernetes' own types and of the custom resources that the chart makes.

They come out of the Go modules of the projects that own them: no other place has them for machines that reach
package registries only. Strict: a field that the type does not have is an error, as with `kubectl --validate=strict`.
"""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.chart import Manifest, require

Schema = dict[str, Any]
KUBERNETES = "k8s.io/kubernetes@v1.34.2"
# Of each project the newest version that the module proxy has with its CRDs.
CRDS = {
    "HTTPRoute": (
        "sigs.k8s.io/gateway-api@v1.4.0",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "ScaledObject": ("github.com/kedacore/keda/v2@v2.18.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "TriggerAuthentication": (
        "github.com/kedacore/keda/v2@v2.18.0",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "ServiceMonitor": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "PrometheusRule": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "RabbitmqCluster": (
        "github.com/rabbitmq/cluster-operator@v1.14.0",
        "config/crd/bases/rabbitmq.com_rabbitmqclusters.yaml",
    ),
}


def problems(manifest: Manifest) -> list[str]:
    """What the API server would refuse in a manifest. Raises KeyError for a type that it does not know."""
    errors = _validator(manifest["apiVersion"], manifest["kind"]).iter_errors(manifest)
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    return [f"{name}: {error.json_path}: {error.message}" for error in errors]


@cache
def _validator(api_version: str, kind: str) -> Draft202012Validator:
    if kind in CRDS:
        return Draft202012Validator(_custom(api_version, kind))
    group, _, version = api_version.rpartition("/")
    name = _kinds()[group, version, kind]
    return Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": _definitions()})


@cache
def _module(module: str) -> Path:
    """The folder of a Go module, downloaded if it is not in Go's cache."""
    command = [require("go"), "mod", "download", "-json", module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer: dict[str, str] = json.loads(done.stdout or "{}")
    if "Dir" not in answer:
        pytest.fail(f"cannot get {module}: {answer.get('Error', done.stderr)}")
    return Path(answer["Dir"])


@cache
def _definitions() -> dict[str, Schema]:
    path = _module(KUBERNETES) / "api" / "openapi-spec" / "swagger.json"
    definitions: dict[str, Schema] = json.loads(path.read_text(encoding="utf-8"))["definitions"]
    return {name: _strict(schema) for name, schema in definitions.items()}


@cache
def _kinds() -> dict[tuple[str, str, str], str]:
    """(group, version, kind) to the definition's name."""
    found = {}
    for name, schema in _definitions().items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            found[kind["group"], kind["version"], kind["kind"]] = name
    return found


def _custom(api_version: str, kind: str) -> Schema:
    module, path = CRDS[kind]
    crd = yaml.load((_module(module) / path).read_text(encoding="utf-8"), yaml.CSafeLoader)
    group, _, wanted = api_version.partition("/")
    assert (crd["spec"]["group"], crd["spec"]["names"]["kind"]) == (group, kind)
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == wanted)
    strict = _strict(schema)
    strict["properties"]["metadata"] = {"type": "object"}
    return strict


def _strict(schema: Schema) -> Schema:
    """As JSON Schema, closed: every object with named properties has no others."""
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    # In swagger.json a quantity is a string; the API server takes numbers too.
    if schema.get("description", "").startswith("Quantity is a fixed-point representation"):
        return {"type": ["integer", "number", "string"]}
    closed = {key: _strict_part(key, part) for key, part in schema.items() if key != "format"}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def _strict_part(key: str, part: Any) -> Any:
    if key == "properties":
        return {name: _strict(schema) for name, schema in part.items()}
    if key in {"items", "additionalProperties"} and isinstance(part, dict):
        return _strict(part)
    return part
