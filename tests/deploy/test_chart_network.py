"""Who talks to whom: the arrows of the architecture and no others."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.chart import DEV, EXTERNAL, Manifest, named, of_kind, pods, render

PEER = {"namespaceSelector": {"matchLabels": {"name": "edge"}}}
CLOSED = {"networkPolicy": {"clients": [PEER], "monitoring": [PEER]}}
DNS, STORE, BROKER = 53, 9000, 5672
Arrow = tuple[str, str, int]
ARROWS = {
    *((component, "minio", STORE) for component in ("ingest", "assembler", "janitor", "auth")),
    *((component, "rabbitmq", BROKER) for component in ("ingest", "assembler", "janitor")),
    ("ingest", "auth", 8000),  # for the public keys
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


@pytest.mark.parametrize("tokens", [{"jwksUrl": "https://issuer.example.com/keys"}, {"algorithm": "HS256"}])
def test_ingest_does_not_ask_auth_where_the_keys_are_elsewhere(tokens: dict[str, str]) -> None:
    manifests = render(DEV, CLOSED, {"tokens": tokens})
    (auth,) = (rule for rule in _policy(manifests, "auth")["ingress"] if rule["ports"][0]["port"] == 8000)
    assert not any(_is(peer, pods(manifests)["ingest"]) for peer in auth["from"])
    asked = [peer for rule in _policy(manifests, "ingest")["egress"] for peer in rule.get("to", [])]
    assert not any(_is(peer, pods(manifests)["auth"]) for peer in asked)


def test_keda_may_ask_the_broker_of_a_trial_for_the_length_of_its_queue() -> None:
    """From a namespace of its own, hence by the Service's whole name."""
    manifests = render(DEV, {"assembler": {"autoscaling": {"enabled": True}}})
    (rule,) = _policy(manifests, "rabbitmq")["ingress"]
    assert {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "keda-operator"}}} in rule["from"]
    url = base64.b64decode(named(manifests, "Secret", "r-hiper-broker-assembler")["data"]["RABBITMQ_URL"]).decode()
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


def _ports_out(component: str, *values: dict[str, Any]) -> set[int]:
    """The ports that a component may reach in a deployment on external backends, but for DNS."""
    rules = _policy(render(EXTERNAL, *values), component)["egress"]
    return {each["port"] for rule in rules for each in rule["ports"]} - {DNS}


@pytest.mark.parametrize(
    ("endpoint", "secure", "port"),
    [
        ("s3.example.com", True, 443),
        ("s3.example.com", False, 80),
        ("s3:9443", True, 9443),
        ("[fd00::1]", True, 443),
        ("[fd00::1]:9443", True, 9443),
    ],
)
def test_the_port_of_an_external_store_is_that_of_its_endpoint(endpoint: str, secure: bool, port: int) -> None:
    assert _ports_out("auth", {"store": {"endpoint": endpoint, "secure": secure}}) == {port}


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("amqp://rabbitmq.example.com", 5672),
        ("amqps://user:p%40ss@rabbitmq.example.com/vhost", 5671),
        ("amqps://user:pass:word@rabbitmq.example.com:5673/vhost?heartbeat=5", 5673),
        ("amqps://[fd00::5672]/", 5671),
        ("amqp://[fd00::1]:5674/", 5674),
    ],
)
def test_the_port_of_the_broker_is_that_of_its_url(url: str, port: int) -> None:
    assert _ports_out("janitor", {"broker": {"existingSecret": "", "url": url}}) == {443, port}


def test_where_the_url_of_the_broker_is_not_known_both_ports_of_amqp_are_open_unless_one_is_named() -> None:
    assert _ports_out("janitor") == {443, 5671, 5672}
    assert _ports_out("janitor", {"broker": {"port": 5699}}) == {443, 5699}


@pytest.mark.parametrize(
    ("values", "port"),
    [
        ({"tokens": {"jwksUrl": "https://issuer.example.com:8443/keys"}}, 8443),
        ({"tokens": {"jwksUrl": "http://issuer.example.com/keys"}}, 80),
        ({"limitsStorage": {"existingSecret": "my-limits"}}, 6379),
        ({"limitsStorage": {"uri": "async+rediss://:secret@redis.example.com/0"}}, 6379),
        ({"limitsStorage": {"uri": "redis+cluster://one:7001,two:7002"}}, 7001),
        ({"limitsStorage": {"uri": "redis+cluster://one:7001,two:7002"}}, 7002),
        ({"limitsStorage": {"uri": "memcached://cache.example.com"}}, 11211),
        ({"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]}, 4318),
        ({"ingest": {"extraEnv": [{"name": "MINIO_STS_ENDPOINT", "value": "https://sts.example.com"}]}}, 443),
    ],
)
def test_whatever_a_service_is_told_to_reach_it_may_reach(values: dict[str, Any], port: int) -> None:
    store = {"store": {"endpoint": "store.example.com:9000"}}
    assert port in _ports_out("ingest", store, values) - _ports_out("ingest", store)


def test_a_variable_of_one_component_opens_nothing_for_another() -> None:
    own = {"ingest": {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]}}
    assert _ports_out("janitor", own) == _ports_out("janitor")


def test_the_janitor_alone_may_post_webhooks_and_only_where_a_value_says_so() -> None:
    rule = {"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}
    allowed = {"networkPolicy": {"webhooks": [rule]}}
    assert 8443 not in _ports_out("janitor")
    assert rule in _policy(render(EXTERNAL, allowed), "janitor")["egress"]
    for component in ("ingest", "assembler", "auth"):
        assert 8443 not in _ports_out(component, allowed)


def test_with_a_role_the_services_reach_who_lends_keys_in_both_families() -> None:
    role = {"store": {"existingSecret": "", "credentials": "aws", "endpoint": "s3:9000"}}
    rules = _policy(render(EXTERNAL, role), "auth")["egress"]
    blocks = {peer["ipBlock"]["cidr"] for rule in rules for peer in rule.get("to", []) if "ipBlock" in peer}
    assert blocks == {"169.254.170.23/32", "fd00:ec2::23/128"}
    assert _ports_out("auth", role) == {9000, 443, 80}


@pytest.mark.parametrize("values", [DEV, EXTERNAL], ids=["dev", "external"])
def test_every_service_is_dual_stack_where_the_cluster_is(values: dict[str, Any]) -> None:
    services = of_kind(render(values, {"serviceMonitor": {"enabled": True}}), "Service")
    assert {service["spec"]["ipFamilyPolicy"] for service in services} == {"PreferDualStack"}
