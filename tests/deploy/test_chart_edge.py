"""One public host: every route that clients use reaches its service, and nothing else does."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.security.certificates import FORWARDED
from libs.common.settings import Settings
from services.auth.app import build_app as auth_app
from services.ingest.app import build_app as ingest_app
from tests.deploy import switches
from tests.deploy.chart import DEV, ROUTE, Manifest, Refused, merge, named, nginx_annotations, of_kind, render

INGRESS = {"ingress": switches.INGRESS}
INSIDE = {"/livez", "/readyz", "/metrics"}
Find = Callable[[str], set[str]]  # a path of the public host to the Services that answer it


def _by_ingress(values: Manifest) -> Find:
    paths = [
        (path["path"], path["pathType"] == "Exact", path["backend"]["service"]["name"])
        for manifest in of_kind(render(DEV, INGRESS, values), "Ingress")
        for path in manifest["spec"]["rules"][0]["http"]["paths"]
    ]
    return lambda asked: {service for path, exact, service in paths if _matches(asked, path, exact)}


def _by_gateway(values: Manifest) -> Find:
    paths = [
        (match["path"]["value"], match["path"]["type"] == "Exact", rule["backendRefs"][0]["name"])
        for rule in named(render(DEV, ROUTE, values), "HTTPRoute", "r-hiper-edge")["spec"]["rules"]
        for match in rule["matches"]
    ]
    return lambda asked: {service for path, exact, service in paths if _matches(asked, path, exact)}


def _matches(asked: str, path: str, exact: bool) -> bool:
    return asked == path or (not exact and asked.startswith(f"{path}/"))


EDGES: dict[str, Callable[[Manifest], Find]] = {"ingress": _by_ingress, "gateway": _by_gateway}


@pytest.fixture(params=EDGES)
def find(request: pytest.FixtureRequest) -> Find:
    return EDGES[request.param]({})


def _paths(build: Callable[[Settings], FastAPI]) -> set[str]:
    settings = Settings(_env_file=None, secret_key=SecretStr("s" * 40))
    return set(build(settings).openapi()["paths"])


@pytest.mark.parametrize(("component", "build"), [("auth", auth_app), ("ingest", ingest_app)])
def test_every_route_for_clients_reaches_its_service(
    find: Find, component: str, build: Callable[[Settings], FastAPI]
) -> None:
    routes = _paths(build) - INSIDE
    assert {path: find(path) for path in routes} == {path: {f"r-hiper-{component}"} for path in routes}


@pytest.mark.parametrize("edge", EDGES)
def test_devices_can_be_kept_off_the_public_host(edge: str) -> None:
    inside = {"admin": {"public": False}}
    find = EDGES[edge](inside)
    assert find("/devices") == find("/devices/car-7") == set()
    assert find("/token") == {"r-hiper-auth"}
    manifests = render(DEV, inside)
    assert {component for component in ("auth", "ingest", "assembler", "janitor") if "ADMIN_API_PORT" in str(
        named(manifests, "Deployment", f"r-hiper-{component}"))} == {"auth"}  # fmt: skip
    assert "8001" not in str(of_kind(manifests, "Service"))


DOCUMENTATION = ["/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"]


@pytest.mark.parametrize("path", DOCUMENTATION)
@pytest.mark.parametrize("edge", EDGES)
def test_the_documentation_of_ingest_is_public_where_it_is_enabled(edge: str, path: str) -> None:
    assert EDGES[edge]({"settings": {"docsEnabled": True}})(path) == {"r-hiper-ingest"}
    assert EDGES[edge]({})(path) == set()


@pytest.mark.parametrize("path", [*sorted(INSIDE), "/", "/uploads-of-others", "/tokens"])
def test_probes_metrics_and_anything_else_stay_inside(find: Find, path: str) -> None:
    assert find(path) == set()


def _nginx(component: str, **settings: int) -> dict[str, str]:
    return nginx_annotations(render(DEV, INGRESS, {"settings": settings}), component)


def test_nginx_streams_bodies_of_the_largest_file_and_waits_longer_than_ingest() -> None:
    found = _nginx("ingest", maxChunkSize=2**20, maxFileSize=2**40, bodyTimeout=100)
    assert (found["proxy-request-buffering"], found["proxy-buffering"]) == ("off", "off")
    assert int(found["proxy-body-size"]) == 2**40 + 9
    assert int(found["proxy-read-timeout"]) > 100


def test_a_gateway_sets_no_end_to_uploads_and_downloads() -> None:
    rules = named(render(DEV, ROUTE), "HTTPRoute", "r-hiper-edge")["spec"]["rules"]
    waits = {rule["matches"][0]["path"]["value"]: rule.get("timeouts", {}).get("request") for rule in rules}
    assert waits["/upload"] == waits["/files"] == "0s"  # GEP-1742: no timeout; it would cover body and answer


def test_an_upload_stays_with_one_replica_and_uploads_spread() -> None:
    key = _nginx("ingest")["upstream-hash-by"]
    assert "$arg_filename" in key
    assert "$http_authorization" in key  # a whole fleet may upload files of one name
    assert "$uri" in key  # of downloads too, each may go elsewhere
    assert "upstream-hash-by" not in _nginx("auth")


def test_tls_is_on_unless_switched_off() -> None:
    def tls(values: Manifest) -> list[Any]:
        return [ingress["spec"].get("tls") for ingress in of_kind(render(DEV, INGRESS, values), "Ingress")]

    assert tls({}) == [[{"hosts": ["files.example.com"], "secretName": "r-hiper-tls"}]] * 2
    assert tls({"ingress": {"tls": {"enabled": False}}}) == [None, None]


def test_annotations_of_the_operator_win() -> None:
    own = {"nginx.ingress.kubernetes.io/proxy-body-size": "1m", "cert-manager.io/cluster-issuer": "le"}
    ingress = named(render(DEV, INGRESS, {"ingress": {"annotations": own}}), "Ingress", "r-hiper-ingest")
    assert own.items() <= ingress["metadata"]["annotations"].items()


EDGE = {"networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"name": "edge"}}}]}}
CERTIFIED: dict[str, Any] = {
    "ingress": {**switches.INGRESS, "clientCertificates": {"enabled": True, "caSecret": "fleet-ca"}},
    **EDGE,
}
CERTIFIED_BY_GATEWAY = merge(ROUTE, {"httpRoute": {"clientCertificates": {"enabled": True}}, **EDGE})


def test_devices_must_show_a_certificate_where_that_is_asked_for() -> None:
    manifests = render(DEV, CERTIFIED)
    for ingress in of_kind(manifests, "Ingress"):
        annotations = ingress["metadata"]["annotations"]
        assert annotations["nginx.ingress.kubernetes.io/auth-tls-verify-client"] == "on"
        assert annotations["nginx.ingress.kubernetes.io/auth-tls-secret"].endswith("/fleet-ca")
    (shared,) = [m["data"] for m in of_kind(manifests, "ConfigMap") if "CLIENT_CERT_HEADER" in m["data"]]
    assert shared["CLIENT_CERT_HEADER"] == "ssl-client-subject-dn"


def test_no_annotation_makes_the_certificate_optional() -> None:
    verify = "nginx.ingress.kubernetes.io/auth-tls-verify-client"
    for ingress in of_kind(render(DEV, CERTIFIED, {"ingress": {"annotations": {verify: "optional_no_ca"}}}), "Ingress"):
        assert ingress["metadata"]["annotations"][verify] == "on"


def test_a_gateway_names_the_certificate_in_a_header_that_the_services_read() -> None:
    (shared,) = [m["data"] for m in of_kind(render(DEV, CERTIFIED_BY_GATEWAY), "ConfigMap") if "HOST" in m["data"]]
    assert shared["CLIENT_CERT_HEADER"] == FORWARDED


@pytest.mark.parametrize("values", [CERTIFIED, CERTIFIED_BY_GATEWAY], ids=["ingress", "gateway"])
def test_where_certificates_are_asked_for_the_edge_alone_reaches_the_services(values: dict[str, Any]) -> None:
    manifests = render(DEV, values)
    for component in ("ingest", "auth"):
        policy = named(manifests, "NetworkPolicy", f"r-hiper-{component}")["spec"]
        for rule in (rule for rule in policy["ingress"] if rule["ports"][0]["port"] == 8000):
            others = [peer for peer in rule["from"] if peer not in EDGE["networkPolicy"]["clients"]]
            assert all("app.kubernetes.io/instance" in peer["podSelector"]["matchLabels"] for peer in others)


@pytest.mark.parametrize(
    ("certified", "change", "words"),
    [
        (CERTIFIED, {"networkPolicy": {"clients": []}}, "networkPolicy.clients"),
        (CERTIFIED, ROUTE, "httpRoute.enabled"),
        (CERTIFIED, {"networkPolicy": {"enabled": False}}, "networkPolicy.clients"),
        (CERTIFIED, {"ingress": {"nginx": False}}, "ingress.nginx"),
        (CERTIFIED, {"ingress": {"tls": {"enabled": False}}}, "ingress.tls.enabled"),
        (CERTIFIED, {"ingress": {"clientCertificates": {"caSecret": ""}}}, "caSecret"),
        (CERTIFIED, {"httpRoute": {"clientCertificates": {"enabled": True}}}, "Enable one of them"),
        (CERTIFIED_BY_GATEWAY, {"networkPolicy": {"clients": []}}, "networkPolicy.clients"),
        (CERTIFIED_BY_GATEWAY, {"networkPolicy": {"enabled": False}}, "networkPolicy.clients"),
        (CERTIFIED_BY_GATEWAY, {"httpRoute": {"enabled": False}}, "needs httpRoute.enabled"),
        (CERTIFIED_BY_GATEWAY, INGRESS, "ingress.enabled to false"),
    ],
)
def test_certificates_that_anybody_could_claim_are_refused(
    certified: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        render(DEV, certified, change)
