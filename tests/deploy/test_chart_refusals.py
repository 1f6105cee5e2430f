"""Values that cannot work are refused before anything is installed, with a sentence on what to do."""

import re
from typing import Any

import pytest

from tests.deploy.chart import DEV, EXTERNAL, PUBLIC_KEY, Refused, merge, render
from tests.deploy.switches import INGRESS, PEER

Values = dict[str, Any]


def refuses(values: Values, message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)):
        render(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "store.endpoint: set it"),
        ({"store": {"endpoint": "s3:9000"}}, "store.existingSecret: set it"),
        ({"store": {"endpoint": "s3:9000", "accessKey": "a"}}, "store.secretKey: it goes with"),
        ({"store": {"endpoint": "s3:9000", "existingSecret": "s"}}, "broker.existingSecret: set it"),
        ({**DEV, "ingress": {**INGRESS, "host": ""}}, "ingress.host: set the host name"),
        ({**DEV, "ingress": {**INGRESS, "className": ""}}, "ingress.className: name the class"),
        ({**DEV, "httpRoute": {"enabled": True}}, "httpRoute.parentRefs: name the Gateways"),
        ({**DEV, "tokens": {"algorithm": "ES384"}}, "Helm can make no key for ES384"),
    ],
)
def test_what_is_missing_is_named(values: Values, message: str) -> None:
    refuses(values, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens": {"secretKey": "short"}}, "/tokens/secretKey"),
        ({"tokens": {"algorithm": "none"}}, "/tokens/algorithm"),
        ({"admin": {"secret": "short"}}, "/admin/secret"),
        ({"settings": {"forwardedAllowIps": "*"}}, "/settings/forwardedAllowIps"),
        ({"store": {"endpoint": "https://s3"}}, "/store/endpoint"),
        ({"store": {"endpoint": "fd00::1"}}, "/store/endpoint"),
        ({"settings": {"maxChunkSize": "64Mi"}}, "/settings/maxChunkSize"),
        ({"settings": {"limitsClasses": {"default": {"requests": 1}}}}, "/settings/limitsClasses/default"),
        ({"ingest": {"replicas": 0}}, "/ingest/replicas"),
        ({"assembler": {"replicas": 0}}, "/assembler/replicas"),
        ({"janitor": {"replicas": 0}}, "/janitor/replicas"),
        ({"auth": {"replicas": 0}}, "/auth/replicas"),
        ({"ingest": {"autoscaling": {"minReplicas": 0}}}, "/ingest/autoscaling/minReplicas"),
        ({"ingest": {"pdb": {"maxUnavailable": 0}}}, "/ingest/pdb/maxUnavailable"),
    ],
)
def test_a_value_that_can_never_work_is_named(values: Values, message: str) -> None:
    refuses({**DEV, **values}, message)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"registry": "x/"}, "x//hiper:0.1.0"),
        ({"registry": "x", "repository": "/hiper"}, "x//hiper:0.1.0"),
        ({"registry": "https://x"}, "https://x/hiper:0.1.0"),
        ({"repository": "Hiper Image"}, "Hiper Image:0.1.0"),
        ({"repository": "x/Hiper"}, "x/Hiper:0.1.0"),
        ({"tag": "a b"}, "hiper:a b"),
    ],
)
def test_a_name_that_is_of_no_image_is_refused(image: Values, name: str) -> None:
    refuses({**DEV, "image": image}, f'image.registry, image.repository, image.tag: together they are "{name}"')


@pytest.mark.parametrize(
    "image",
    [
        {"registry": "registry.example.com:5000/a/b_c", "repository": "hiper"},
        {"registry": "", "repository": "localhost:5000/hiper-test/hi.per"},
        {"registry": "ghcr.io", "tag": "V1.2.3-rc.1_x"},
        {"registry": "ghcr.io", "digest": "sha256:" + "0" * 64},
    ],
)
def test_a_name_that_is_of_an_image_is_taken(image: Values) -> None:
    assert render(DEV, {"image": image})


@pytest.mark.parametrize("name", ["minio", "rabbitmq"])
def test_images_of_a_trial_are_looked_at_too(name: str) -> None:
    refuses({**DEV, "dev": {"enabled": True, name: {"image": "/x"}}}, f"image.registry, dev.{name}.image: together")


def _sizes(**ingest: Any) -> Values:
    return {"ingest": ingest}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"memoryBudget": 2**30}}, "settings.memoryBudget: 1073741824 bytes"),
        (_sizes(resources={"limits": {"memory": "200Mi"}}), "ingest.resources.limits.memory (200Mi)"),
        (_sizes(resources={"limits": {"memory": 2e8}}), "ingest.resources.limits.memory"),
        (_sizes(spool={"sizeLimit": "10M"}), "settings.maxChunkSize (67108864 bytes) does not fit"),
        (
            _sizes(resources={"limits": {"ephemeral-storage": "4Gi"}}),
            "ingest.resources.limits.ephemeral-storage (4Gi)",
        ),
        (
            _sizes(resources={"requests": {"memory": "1Gi"}}),
            "request of memory (1Gi) is more than the limit",
        ),
        (
            {"settings": {"maxFileSize": 1000}},
            "settings.maxChunkSize (67108864) is more than settings.maxFileSize",
        ),
        ({"settings": {"bodyIdleTimeout": 600}}, "settings.bodyIdleTimeout (600 s) is more than"),
        (_sizes(autoscaling={"enabled": True, "minReplicas": 5, "maxReplicas": 4}), "minReplicas (5) is more than"),
        ({"assembler": {"autoscaling": {"enabled": True, "maxReplicas": 1}}}, "assembler.autoscaling: minReplicas (2)"),
        (
            _sizes(autoscaling={"enabled": True}, resources={"requests": {"cpu": None}}),
            "ingest.autoscaling aims at a percentage of ingest.resources.requests.cpu",
        ),
    ],
)
def test_sizes_that_do_not_fit_into_one_another_are_refused(values: Values, message: str) -> None:
    refuses({**DEV, **values}, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dev": {"enabled": True}}, "dev.enabled brings a store of its own"),
        ({"store": {"buckets": {"perm": "hiper-temp"}}}, "store.buckets: temp, perm and auth must be three buckets"),
        ({"store": {"buckets": {"auth": "hiper-perm"}}}, "store.buckets: temp, perm and auth must be three buckets"),
        ({"store": {"accessKey": "a", "secretKey": "b"}}, "store.existingSecret and store.accessKey contradict"),
        ({"store": {"credentials": "aws"}}, "store.credentials=aws takes no keys"),
        (
            {"store": {"credentials": "aws", "existingSecret": ""}, "auth": {"storeSecret": "s"}},
            "auth.storeSecret: store.credentials=aws takes no keys",
        ),
        ({"store": {"encryption": {"kmsKeyId": "k"}}}, "store.encryption.kmsKeyId goes with"),
        ({"broker": {"url": "amqp://x/"}}, "broker.existingSecret, broker.url contradict one another"),
        ({"broker": {"rabbitmqCluster": {"create": True}}}, "broker.rabbitmqCluster.create, broker.existingSecret"),
        ({"broker": {"existingSecret": "", "url": "amqps://x/", "port": 5672}}, "broker.port (5672) is not the port"),
        (
            {"broker": {"existingSecret": "", "url": "amqp://x/", "clientCertificate": "c"}},
            "broker.clientCertificate: a broker sees a certificate only through TLS",
        ),
        ({"limitsStorage": {"existingSecret": "s", "uri": "redis://x"}}, "limitsStorage.existingSecret and"),
        ({"tokens": {"secretKey": "s" * 32}}, "tokens.existingSecret contradicts tokens.secretKey"),
        (
            {"tokens": {"existingSecret": "", "secretKey": "s" * 32, "algorithm": "EdDSA"}},
            "EdDSA signs with a private key",
        ),
        ({"tokens": {"algorithm": "HS256", "publicKeys": [PUBLIC_KEY]}}, "HS256 signs and verifies with one shared"),
        ({"tokens": {"algorithm": "HS256", "jwksUrl": "https://x/keys"}}, "HS256 signs and verifies with one shared"),
        ({"admin": {"secret": "x" * 32}}, "admin.existingSecret and admin.secret contradict"),
        ({"prometheusRule": {"enabled": True}}, "Set serviceMonitor.enabled too"),
        ({"networkPolicy": {"enabled": False, "clients": [PEER]}}, "networkPolicy.enabled=false makes no policy"),
        ({"networkPolicy": {"enabled": False, "extraEgress": [{}]}}, "networkPolicy.enabled=false makes no policy"),
        ({"serviceAccount": {"create": False, "annotations": {"a": "b"}}}, "serviceAccount.annotations: with"),
    ],
)
def test_values_that_contradict_one_another_are_refused(values: Values, message: str) -> None:
    refuses(merge(EXTERNAL, values), message)


def test_all_that_is_wrong_is_said_at_once() -> None:
    values = {**DEV, "store": {"buckets": {"perm": "hiper-temp"}}, "settings": {"memoryBudget": 2**30}}
    refuses(values, "store.buckets")
    refuses(values, "settings.memoryBudget")
