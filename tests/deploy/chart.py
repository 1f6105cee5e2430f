"""The chart, rendered by Helm."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "hiper"
COMPONENTS = ("ingest", "assembler", "janitor", "auth")
Manifest = dict[str, Any]

DEV: dict[str, Any] = {"dev": {"enabled": True}}
EXTERNAL: dict[str, Any] = {
    "store": {"endpoint": "s3.example.com:443", "existingSecret": "my-store"},
    "broker": {"existingSecret": "my-broker"},
    "tokens": {"existingSecret": "my-tokens"},
    "admin": {"existingSecret": "my-admin"},
}
ROUTE = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["files.example.com"]}}
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"


def require(command: str) -> str:
    """The path of a command. Without it the test is left out, unless E2E=required."""
    if path := shutil.which(command):
        return path
    if os.environ.get("E2E") == "required":
        pytest.fail(f"E2E=required, but there is no {command}")
    pytest.skip(f"needs {command}")


class Refused(Exception):
    """Helm does not render the chart; the message is Helm's."""


def helm(*arguments: str, values: Mapping[str, Any]) -> str:
    """What Helm prints. Raises Refused."""
    command = [require("helm"), *arguments, "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def render(*layers: Mapping[str, Any]) -> list[Manifest]:
    """The manifests for values in layers, the later ones on top. Raises Refused."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    return [*_rendered(json.dumps(merged, sort_keys=True))]


@cache
def _rendered(values: str) -> tuple[Manifest, ...]:
    text = helm("template", "r", str(CHART), "--namespace", "ns", values=json.loads(values))
    return tuple(manifest for manifest in yaml.safe_load_all(text) if manifest)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm does it: mappings key by key, anything else as a whole."""
    both = {key: merge(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(above[key], dict)}
    return {**below, **above, **both}


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one manifest of that kind and name."""
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found


def nginx_annotations(manifests: list[Manifest], component: str) -> dict[str, str]:
    """Of a component's Ingress, without their common prefix."""
    annotations: dict[str, str] = named(manifests, "Ingress", f"r-hiper-{component}")["metadata"].get("annotations", {})
    return {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in annotations.items()}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Everything that becomes a pod, by component: its `metadata` and `spec`."""
    templates = [workload["spec"]["template"] for workload in of_kind(manifests, "Deployment", "StatefulSet")]
    found = [*templates, *of_kind(manifests, "Pod")]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in found}


def environment(manifests: list[Manifest], component: str) -> dict[str, Any]:
    """The variables of a component: from the ConfigMap, a string; of its own, what stands beside the name."""
    (container,) = pods(manifests)[component]["spec"]["containers"]
    shared = [named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"] for source in container["envFrom"]]
    own = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
    return dict(itertools.chain(*(each.items() for each in [*shared, own])))


def secret_files(pod: Manifest) -> dict[str, str]:
    """The files of a service's SECRETS_DIR: name to the Secret that it comes from."""
    sources = itertools.chain.from_iterable(
        volume["projected"]["sources"] for volume in pod["spec"].get("volumes", []) if volume["name"] == "secrets"
    )
    secrets = [source["secret"] for source in sources]
    return {item["path"]: secret["name"] for secret in secrets for item in secret["items"]}


def secrets_of(pod: Manifest) -> set[str]:
    """The Secrets that a pod mounts or reads a variable from."""
    spec = pod["spec"]
    mounted = {volume["secret"]["secretName"] for volume in spec.get("volumes", []) if "secret" in volume}
    entries = [entry for container in spec["containers"] for entry in container.get("env", [])]
    read = {entry["valueFrom"]["secretKeyRef"]["name"] for entry in entries if "valueFrom" in entry}
    return mounted | read | set(secret_files(pod).values())


def strings(value: object) -> Iterator[str]:
    """Every string in a document, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain(strings([*value]), strings([*value.values()]))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(strings, value))
