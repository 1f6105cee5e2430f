"""Pods hold what they need and nothing else: rights, secrets, keys."""

import base64
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from libs.common.bus._topology import Topology
from libs.common.security.keys import signing_key
from libs.common.settings import Settings
from libs.common.web.serving import load_settings
from tests.deploy.chart import (
    CHART,
    COMPONENTS,
    DEV,
    EXTERNAL,
    PUBLIC_KEY,
    environment,
    named,
    of_kind,
    pods,
    render,
    secret_files,
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
    signing = {"tokens": {"algorithm": "HS256", "secretKey": "given-signing-" + "s" * 32}}
    given = ["given-store", "given-broker", "given-limits", "given-signing", "given-admin"]
    everything = [manifest for manifest in render(GIVEN, signing) if manifest["kind"] != "Secret"]
    said = list(itertools.chain.from_iterable(map(strings, everything)))
    assert [(secret, text) for secret in given for text in said if secret in text] == []


def test_with_existing_secrets_the_chart_makes_none() -> None:
    manifests = render(EXTERNAL, {"tests": {"enabled": False}})
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


def test_tokens_are_signed_by_a_key_of_auth_alone_unless_the_operator_wants_otherwise() -> None:
    manifests = render(DEV)
    assert environment(manifests, "ingest")["ALGORITHM"] == "EdDSA"
    assert named(manifests, "Secret", "r-hiper-tokens")["data"].keys() == {"private.pem"}
    assert {name for name, pod in pods(manifests).items() if "r-hiper-tokens" in secrets_of(pod)} == {"auth"}


def test_a_shared_secret_that_was_given_goes_on_signing() -> None:
    """Values of chart 0.1, where HS256 was the default."""
    manifests = render(DEV, {"tokens": {"secretKey": "s" * 32}})
    assert environment(manifests, "ingest")["ALGORITHM"] == "HS256"


def test_no_two_installations_have_the_same_secrets() -> None:
    one, other = ({manifest["metadata"]["name"]: manifest for manifest in of_kind(render(DEV, values), "Secret")}
                  for values in ({}, {"ingest": {"replicas": 3}}))  # fmt: skip
    own = {f"store-{name}" for name in COMPONENTS} | {f"broker-{name}" for name in COMPONENTS if name != "auth"}
    assert (
        one.keys()
        == {f"r-hiper-{name}" for name in {"tokens", "admin", "test", "minio", "rabbitmq", *own}}
        == other.keys()
    )
    assert [name for name in one if one[name] == other[name]] == []


@every_combination
def test_secrets_of_the_services_are_files_that_no_variable_repeats(row: Row) -> None:
    manifests = render(values_of(row))
    for component in COMPONENTS:
        pod = pods(manifests)[component]
        (container,) = pod["spec"]["containers"]
        assert [entry["name"] for entry in container["env"] if "valueFrom" in entry] == []
        directory = environment(manifests, component)["SECRETS_DIR"]
        assert directory in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert secret_files(pod).keys() <= {name.upper() for name in Settings.model_fields}


def test_the_services_read_the_files_as_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for component, pod in pods(render(EXTERNAL, {"tokens": {"algorithm": "HS256"}})).items():
        for name in secret_files(pod):
            value = (
                "amqp://user:secret@rabbitmq/" if name == "RABBITMQ_URL" else f"the-{name}-of-{component}-{'x' * 32}"
            )
            (tmp_path / name).write_text(value, encoding="utf-8")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.minio_secret_key.get_secret_value().startswith("the-MINIO_SECRET_KEY-of-")
    assert settings.rabbitmq_url.get_secret_value() == "amqp://user:secret@rabbitmq/"
    assert settings.admin_secret.get_secret_value().startswith("the-ADMIN_SECRET-of-auth")


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ("ingest", {"my-store", "my-broker"}),
        ("assembler", {"my-store", "my-broker"}),
        ("janitor", {"my-store", "my-broker"}),
        ("auth", {"my-store", "my-tokens", "my-admin", "r-hiper-test"}),
        ("test", {"r-hiper-test"}),
    ],
)
def test_each_component_gets_the_secrets_that_it_needs(component: str, expected: set[str]) -> None:
    assert secrets_of(pods(render(EXTERNAL))[component]) == expected


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_can_have_store_credentials_of_its_own(component: str) -> None:
    found = pods(render(EXTERNAL, {component: {"storeSecret": "own"}}))
    assert {name for name, pod in found.items() if "own" in secrets_of(pod)} == {component}


@pytest.mark.parametrize("component", ["ingest", "assembler", "janitor"])
def test_a_component_can_have_a_broker_user_of_its_own(component: str) -> None:
    found = pods(render(EXTERNAL, {component: {"brokerSecret": "own"}}))
    assert {name for name, pod in found.items() if "own" in secrets_of(pod)} == {component}


def test_the_backends_of_a_trial_have_a_user_for_each_service() -> None:
    found = pods(render(DEV))
    for component in COMPONENTS:
        files = secret_files(found[component])
        assert files["MINIO_SECRET_KEY"] == f"r-hiper-store-{component}"
        assert files.get("RABBITMQ_URL") == (None if component == "auth" else f"r-hiper-broker-{component}")
    assert {name for name, pod in found.items() if "r-hiper-minio" in secrets_of(pod)} == {"minio"}  # the root


def test_the_store_of_a_trial_has_the_policies_for_the_buckets_of_the_values() -> None:
    buckets = {"temp": "fleet-temp", "perm": "fleet-perm", "auth": "fleet-auth"}
    policies = named(render(DEV, {"store": {"buckets": buckets}}), "ConfigMap", "r-hiper-minio-policies")["data"]
    assert policies.keys() == {f"{component}.json" for component in COMPONENTS}
    for component in COMPONENTS:
        text = (CHART / "files" / "policies" / f"{component}.json").read_text(encoding="utf-8")
        expected = json.loads(text.replace("arn:aws:s3:::hiper-", "arn:aws:s3:::fleet-"))
        assert json.loads(policies[f"{component}.json"]) == expected


def test_each_user_of_the_broker_of_a_trial_has_rights_on_our_names_only() -> None:
    secret = named(render(DEV), "Secret", "r-hiper-rabbitmq")["stringData"]
    definitions = json.loads(secret["definitions.json"])
    assert {user["name"]: user["tags"] for user in definitions["users"]} == {
        name: [] for name in ("ingest", "assembler", "janitor")
    }
    names = {Topology().exchange, Topology().queue, Topology().dead_exchange, Topology().dead_queue}
    assert len(definitions["permissions"]) == 3
    for right in (each[right] for each in definitions["permissions"] for right in ("configure", "write", "read")):
        assert all(re.search(right, name) for name in names)
        assert not any(
            re.search(right, other) for other in ("amq.topic", "other.assembler", "assembler2", "hiperXevents")
        )


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
        assert "MINIO_SECRET_KEY" not in secret_files(pods(manifests)[component])
    (account,) = of_kind(manifests, "ServiceAccount")
    assert account["metadata"]["annotations"] == role
