"""Pods hold what they need and nothing else: rights, secrets, keys."""

import base64
import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from libs.common.keys import signing_key
from libs.common.settings import Settings
from tests.deploy.chart import (
    COMPONENTS,
    DEV,
    EXTERNAL,
    PUBLIC_KEY,
    environment,
    named,
    of_kind,
    pods,
    render,
    secrets_of,
    strings,
)
from tests.deploy.pairs import Row
from tests.deploy.restricted import violations
from tests.deploy.switches import GIVEN, ROWS, values_of

EDDSA = {"tokens": {"algorithm": "EdDSA"}}
every_combination = pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))


@every_combination
def test_every_pod_fits_the_restricted_profile(row: Row) -> None:
    found = {component: violations(pod["spec"]) for component, pod in pods(render(values_of(row))).items()}
    assert {component: each for component, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"securityContext": {"allowPrivilegeEscalation": True}}, 1),
        ({"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}, 1),
        ({"podSecurityContext": {"runAsNonRoot": False}}, 1),
        ({"podSecurityContext": {"runAsUser": 0}}, 1),
        ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, 1),
    ],
)
def test_the_check_of_the_profile_sees_each_breach(change: dict[str, Any], count: int) -> None:
    assert len(violations(pods(render(DEV, change))["ingest"]["spec"])) == count


@every_combination
def test_no_pod_writes_to_its_image_or_holds_a_token_of_kubernetes(row: Row) -> None:
    for pod in pods(render(values_of(row))).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False  # a Service called `metrics` would set METRICS_PORT
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]


def test_what_is_given_as_a_secret_is_in_secrets_only() -> None:
    given = [
        GIVEN["store"]["secretKey"],
        GIVEN["tokens"]["secretKey"],
        GIVEN["admin"]["secret"],
        "given-broker",
    ]
    everything = [manifest for manifest in render(GIVEN) if manifest["kind"] != "Secret"]
    said = list(itertools.chain.from_iterable(map(strings, everything)))
    assert [(secret, text) for secret in given for text in said if secret in text] == []


def test_with_existing_secrets_the_chart_makes_none() -> None:
    manifests = render(EXTERNAL)
    assert of_kind(manifests, "Secret") == []
    used = set().union(*map(secrets_of, pods(manifests).values()))
    assert used == {"my-store", "my-broker", "my-tokens", "my-admin"}


def _made(values: dict[str, Any], key: str) -> str:
    """What the chart puts into its Secret of token keys, where nothing is given."""
    return base64.b64decode(named(render(DEV, values), "Secret", "r-hiper-tokens")["data"][key]).decode()


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_the_secret_that_the_chart_makes_fits_the_algorithm(algorithm: str) -> None:
    secret = SecretStr(_made({"tokens": {"algorithm": algorithm}}, "SECRET_KEY"))
    assert signing_key(Settings.model_validate({"algorithm": algorithm, "secret_key": secret})).material


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA"])
def test_the_private_key_that_the_chart_makes_fits_the_algorithm(algorithm: str, tmp_path: Path) -> None:
    file = tmp_path / "private.pem"
    file.write_text(_made({"tokens": {"algorithm": algorithm}}, "private.pem"), encoding="utf-8")
    assert signing_key(Settings.model_validate({"algorithm": algorithm, "private_key_file": file})).material


def test_no_two_installations_have_the_same_secrets() -> None:
    one, other = ({manifest["metadata"]["name"]: manifest for manifest in of_kind(render(DEV, values), "Secret")}
                  for values in ({}, {"ingest": {"replicas": 3}}))  # fmt: skip
    assert one.keys() == {"r-hiper-tokens", "r-hiper-admin", "r-hiper-minio", "r-hiper-rabbitmq"} == other.keys()
    assert [name for name in one if one[name] == other[name]] == []


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("ingest", {"my-store", "my-broker", "my-tokens"}),
        ("assembler", {"my-store", "my-broker"}),
        ("janitor", {"my-store", "my-broker"}),
        ("auth", {"my-store", "my-tokens", "my-admin"}),
        ("test", {"my-admin"}),
    ],
)
def test_each_component_gets_the_secrets_that_it_needs(component: str, expected: set[str]) -> None:
    assert secrets_of(pods(render(EXTERNAL))[component]) == expected


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_can_have_store_credentials_of_its_own(component: str) -> None:
    found = pods(render(EXTERNAL, {component: {"storeSecret": "own"}}))
    assert {name for name, pod in found.items() if "own" in secrets_of(pod)} == {component}


def test_with_asymmetric_tokens_auth_alone_has_the_private_key() -> None:
    manifests = render(EXTERNAL, EDDSA)
    assert {name for name, pod in pods(manifests).items() if "my-tokens" in secrets_of(pod)} == {"auth"}
    assert environment(manifests, "auth")["PRIVATE_KEY_FILE"] == "/etc/hiper/signing/private.pem"
    ingest = environment(manifests, "ingest")
    assert ingest["JWKS_URL"] == "http://r-hiper-auth:80/.well-known/jwks.json"
    assert not {"SECRET_KEY", "PRIVATE_KEY_FILE"} & ingest.keys()


def test_public_keys_of_a_rotation_reach_ingest_and_auth() -> None:
    manifests = render(DEV, {"tokens": {"algorithm": "EdDSA", "publicKeys": [PUBLIC_KEY]}})
    assert named(manifests, "ConfigMap", "r-hiper-public-keys")["data"] == {"0.pem": PUBLIC_KEY}
    for component in ("ingest", "auth"):
        assert environment(manifests, component)["PUBLIC_KEY_FILES"] == '["/etc/hiper/public/0.pem"]'
        (container,) = pods(manifests)[component]["spec"]["containers"]
        assert "/etc/hiper/public" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_trust_bundle_reaches_every_service() -> None:
    manifests = render(EXTERNAL, {"trust": {"existingConfigMap": "bundle", "key": "ca-bundle.pem"}})
    for component in COMPONENTS:
        (container,) = pods(manifests)[component]["spec"]["containers"]
        assert environment(manifests, component)["TLS_CA_FILE"] == "/etc/hiper/trust/ca.crt"
        assert "/etc/hiper/trust" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_certificate_for_the_broker_reaches_those_that_talk_to_it() -> None:
    manifests = render(EXTERNAL, {"broker": {"clientCertificate": "broker-client"}})
    for component in COMPONENTS:
        names = {volume["name"] for volume in pods(manifests)[component]["spec"]["volumes"]}
        assert ("broker" in names) == (component != "auth")
        if component != "auth":
            assert environment(manifests, component)["RABBITMQ_CERT_FILE"] == "/etc/hiper/broker/tls.crt"


def test_objects_ask_to_be_encrypted() -> None:
    manifests = render(EXTERNAL, {"store": {"encryption": {"kind": "kms", "kmsKeyId": "fleet-key"}}})
    (shared,) = [m["data"] for m in of_kind(manifests, "ConfigMap") if "MINIO_SSE" in m["data"]]
    assert (shared["MINIO_SSE"], shared["MINIO_SSE_KMS_KEY_ID"]) == ("kms", "fleet-key")


def test_with_a_role_no_key_is_needed_and_none_reaches_a_pod() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/hiper"}
    given = {"store": {"existingSecret": "", "credentials": "aws"}, "serviceAccount": {"annotations": role}}
    manifests = render(EXTERNAL, given)
    for component in COMPONENTS:
        assert "MINIO_SECRET_KEY" not in environment(manifests, component)
    (account,) = of_kind(manifests, "ServiceAccount")
    assert account["metadata"]["annotations"] == role
