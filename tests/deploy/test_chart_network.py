"""Who talks to whom: the arrows of the architecture and no others."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.chart import DEV, EXTERNAL, Manifest, named, pods, render

EDDSA = {"tokens": {"algorithm": "EdDSA"}}
PEER = {"namespaceSelector": {"matchLabels": {"name": "edge"}}}
CLOSED = {"networkPolicy": {"clients": [PEER], "monitoring": [PEER]}}
DNS, STORE, BROKER = 53, 9000, 5672
Arrow = tuple[str, str, int]
ARROWS = {
    *((component, "minio", STORE) for component in ("ingest", "assembler", "janitor", "auth")),
    *((component, "rabbitmq", BROKER) for component in ("ingest", "assembler", "janitor")),
    ("test", "ingest", 8000),
    ("test", "auth", 8000),
}


def _arrows(manifests: list[Manifest]) -> set[Arrow]:
    """Pod to pod, DNS aside. The policies of both ends say the same."""
    policies = {component: _policy(manifests, component) for component in pods(manifests)}
    out = {(one, to, port) for one, p in policies.items() for to, port in _ends(manifests, p, "egress", "to")}
    into = {(by, one, port) for one, p in policies.items() for by, port in _ends(manifests, p, "ingress", "from")}
    assert {arrow for arrow in out if arrow[2] != DNS} == into
    return into


def _policy(manifests: list[Manifest], component: str) -> Manifest:
    spec: Manifest = named(manifests, "NetworkPolicy", f"r-hiper-{component}")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    return spec


def _ends(manifests: list[Manifest], policy: Manifest, way: str, side: str) -> Iterator[tuple[str, int]]:
    """The components at the other end that a policy names; all of them where it names nobody."""
    for rule in policy.get(way, []):
        for port in (each["port"] for each in rule["ports"]):
            for component, pod in pods(manifests).items():
                if side not in rule or any(_is(peer, pod) for peer in rule[side]):
                    yield component, port


def _is(peer: dict[str, Any], pod: Manifest) -> bool:
    labels: dict[str, str] = peer.get("podSelector", {}).get("matchLabels", {"of": "another namespace"})
    return bool(labels.items() <= pod["metadata"]["labels"].items())


def test_the_arrows_of_the_architecture_and_no_others() -> None:
    assert _arrows(render(DEV, CLOSED)) == ARROWS


def test_ingest_asks_auth_for_keys_where_tokens_are_asymmetric() -> None:
    assert _arrows(render(DEV, CLOSED, EDDSA)) == ARROWS | {("ingest", "auth", 8000)}


def test_ingest_does_not_ask_auth_where_the_keys_are_elsewhere() -> None:
    elsewhere = {"tokens": {"jwksUrl": "https://issuer.example.com/keys"}}
    assert _arrows(render(DEV, CLOSED, EDDSA, elsewhere)) == ARROWS


def test_keda_may_ask_the_broker_of_a_trial_for_the_length_of_its_queue() -> None:
    """From a namespace of its own, hence by the Service's whole name."""
    manifests = render(DEV, {"assembler": {"autoscaling": {"enabled": True}}})
    (rule,) = _policy(manifests, "rabbitmq")["ingress"]
    assert {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "keda-operator"}}} in rule["from"]
    url = named(manifests, "Secret", "r-hiper-rabbitmq")["stringData"]["RABBITMQ_URL"]
    assert "@r-hiper-rabbitmq.ns.svc:5672/" in url


def test_everybody_may_ask_dns_but_the_backends() -> None:
    manifests = render(DEV)
    asking = {
        component
        for component in pods(manifests)
        for rule in _policy(manifests, component).get("egress", [])
        if {(port["port"], port["protocol"]) for port in rule["ports"]} == {(DNS, "UDP"), (DNS, "TCP")}
    }
    assert asking == {"ingest", "assembler", "janitor", "auth", "test"}


@pytest.mark.parametrize(
    ("endpoint", "secure", "port"),
    [("s3.example.com", True, 443), ("s3.example.com", False, 80), ("s3:9443", True, 9443)],
)
def test_the_port_of_an_external_store_is_that_of_its_endpoint(endpoint: str, secure: bool, port: int) -> None:
    manifests = render(EXTERNAL, {"store": {"endpoint": endpoint, "secure": secure}})
    ports = {each["port"] for rule in _policy(manifests, "auth")["egress"] for each in rule["ports"]}
    assert ports == {DNS, port}
