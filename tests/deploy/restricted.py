"""The `restricted` Pod Security Standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
PROFILES = {"RuntimeDefault", "Localhost"}


def violations(spec: Spec) -> list[str]:
    """What a namespace that enforces the profile would refuse in a pod's spec."""
    return [
        *_of_pod(spec),
        *(found for container in spec["containers"] for found in _of_container(spec, container)),
    ]


def _of_pod(spec: Spec) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC", "initContainers") if spec.get(name))
    for volume in spec.get("volumes", []):
        yield from (f"volume of type {kind}" for kind in volume.keys() - {"name"} - VOLUMES)


def _of_container(spec: Spec, container: Spec) -> Iterator[str]:
    own = container["securityContext"]
    both = {**spec["securityContext"], **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in own.get("capabilities", {}).get("drop", []) or own["capabilities"].get("add"):
        yield "capabilities"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if both.get("runAsUser") == 0:
        yield "runAsUser"
    if both.get("seccompProfile", {}).get("type") not in PROFILES:
        yield "seccompProfile"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "hostPort"
