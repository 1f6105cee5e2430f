"""A real cluster to install the chart on: any that KUBECONFIG names, with the images of the tests in it.

CLUSTER_LOAD is the command that brings an image of the local engine into the cluster, such as `kind load
docker-image`; without it the cluster is expected to pull HIPER_IMAGE, MINIO_IMAGE and RABBITMQ_IMAGE by itself.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.chart import CHART, require

PODS = Path(__file__).parent / "pods"
READY = "180s"
COMPONENT = "app.kubernetes.io/component"
# What `restricted` wants of every pod of the namespace, these included.
CONFINED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def run(*command: str, given: str = "", seconds: float = 240) -> str:
    """What a command prints. Fails with all that it said."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def load(images: Sequence[str]) -> None:
    if command := os.environ.get("CLUSTER_LOAD"):
        run(*shlex.split(command), *images)


@dataclass(frozen=True)
class Namespace:
    """A namespace of the cluster that takes only pods of the `restricted` profile."""

    name: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return run(require("kubectl"), "-n", self.name, *arguments, given=given)

    def helm(self, verb: str, *arguments: str, given: str = "") -> str:
        return run(require("helm"), verb, "-n", self.name, *arguments, given=given)

    def create(self) -> None:
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": label}})

    def delete(self) -> None:
        self.kubectl("delete", "namespace", self.name, "--timeout=120s", "--ignore-not-found")

    def apply(self, manifest: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps(manifest))

    def secret(self, name: str, **values: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})

    def install(self, values: Mapping[str, Any]) -> str:
        """Install or upgrade the release `hiper`, and wait until its pods are ready."""
        wait = ("--install", "--wait", f"--timeout={READY}", "--values", "-")
        return self.helm("upgrade", "hiper", str(CHART), *wait, given=json.dumps(values))

    def everything(self) -> set[str]:
        """What is in the namespace, events and the like apart."""
        kinds = "all,pvc,secret,configmap,serviceaccount,networkpolicy,pdb,ingress,hpa,role,rolebinding"
        return set(self.kubectl("get", kinds, "-o", "name").split())

    def connections(self) -> set[tuple[str, str, int]]:
        """Who connected to whom, by component, and on which port, of what the node's kernel remembers. On the node."""
        pods = json.loads(self.kubectl("get", "pod", "-o", "json"))["items"]
        labels = {pod["status"].get("podIP"): pod["metadata"].get("labels", {}) for pod in pods}
        component = {address: own[COMPONENT] for address, own in labels.items() if COMPONENT in own}
        # There with the Service's address, back from the pod's own.
        flows = re.findall(r"src=(\S+) .*? src=(\S+) dst=\S+ sport=(\d+)", run("conntrack", "-L", "-p", "tcp"))
        return {(component[by], component[to], int(port)) for by, to, port in flows if {by, to} <= component.keys()}

    def end_pods(self, component: str) -> None:
        """Delete every pod of a component at once, with a second to say goodbye, and wait for their successors."""
        selector = f"app.kubernetes.io/component={component}"
        self.kubectl("delete", "pod", "-l", selector, "--grace-period=1", "--wait=true")
        kind = "statefulset" if component in {"minio", "rabbitmq"} else "deployment"
        self.kubectl("rollout", "status", f"{kind}/hiper-{component}", f"--timeout={READY}")

    def start_pod(self, name: str, script: str, image: str, env: Mapping[str, str]) -> None:
        """Run a script of `pods/` with the image of the services, once."""
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", (PODS / script).read_text()],
            "env": [{"name": key, "value": value} for key, value in env.items()],
            "securityContext": CONFINED,
        }
        spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def phase(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}")

    def result(self, pod: str) -> Any:
        """What the script printed last, as JSON, once it has ended well; its log if it has not. Removes the pod."""
        try:
            self.kubectl("wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", f"--timeout={READY}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.kubectl('logs', pod)[-6000:]}") from None
        log = self.kubectl("logs", pod)
        self.kubectl("delete", "pod", pod)
        return json.loads(log.splitlines()[-1])
