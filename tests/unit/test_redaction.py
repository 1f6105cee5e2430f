"""No text that the server writes for people holds a secret, however it got there."""

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr, ValidationError

from libs.client.models import NewDevice
from libs.client.profile import Profile
from libs.common.observability.redaction import printable, redact
from libs.common.security.keys import signing_key
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import ConfigurationError, Settings
from libs.common.wiring.checkup import effective
from services.auth.client_secrets import SecretHash, new_secret
from services.auth.grant import parse_token_request
from services.auth.models import Device, DeviceSecret, TokenAnswer
from tests.unit.keyrings import SECRET, plain_settings

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYXItNyJ9.c2lnbmF0dXJl"
HUSH = "hush-hush-hush-hush-hush-hush-hush-hush"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://hiper:hush@broker:5672/", "amqp://hiper:***@broker:5672/"),
        ("redis://:hush@redis/0 and redis://:hush@b/1", "redis://:***@redis/0 and redis://:***@b/1"),
        ("https://hush@keys.example/jwks", "https://***@keys.example/jwks"),
        ("redis://redis/0?db=1&password=hush", "redis://redis/0?db=1&password=***"),
        ("https://s3/b/k?X-Amz-Signature=hush&x=1", "https://s3/b/k?X-Amz-Signature=***&x=1"),
        ("https://s3/b/k?X-Amz-Credential=hush", "https://s3/b/k?X-Amz-Credential=***"),
        ("https://s3/b/k?X-Amz-Security-Token=hush", "https://s3/b/k?X-Amz-Security-Token=***"),
        ("client_secret=hush&grant_type=x", "client_secret=***&grant_type=x"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer ***"),
        (f"the token {JWT} is bad", "the token *** is bad"),
        ("Basic Y2FyLTc6aHVzaGh1c2hodXNo", "Basic ***"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/files?owner=car-7",
        "The Basic credentials are malformed",
        "key=files/car-7/drive.bin token_id=abc secrets=2",
        "write e.g. SECRET_KEY=$(openssl rand -hex 64)",
        "mail to ops@example.com",
    ],
)
def test_what_only_resembles_a_secret_is_shown(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("worst", ["://a:", "a:", "&token", "a-", "eyJ", "://", "bearer ", "_-", "x@"])
def test_taking_out_takes_time_in_proportion_to_the_text(worst: str) -> None:
    def seconds(size: int) -> float:
        text = worst * (size // len(worst))
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    short = min(seconds(30_000) for _ in range(3))
    long = min(seconds(120_000) for _ in range(3))
    assert long < 8 * short + 0.05  # quadratic would be 16


def test_a_terminal_acts_on_nothing_that_is_printable() -> None:
    assert printable("\x1b[2J\r\u202ea\nb") == r"\x1b[2J\r\u202ea\nb"
    assert printable("a\nb", keep="\n") == "a\nb"


def secretive() -> Iterator[object]:
    """Everything that holds a secret in memory."""
    settings = plain_settings(secret_key=SECRET)
    _secret, hashed = new_secret()
    about = {"device_id": "car-7", "scopes": ["files:read"], "created_at": "2026-01-01T00:00:00Z"}
    yield settings
    yield signing_key(settings)
    yield TokenIssuer(settings).issue("car-7", [])
    yield parse_token_request(f"grant_type=client_credentials&client_id=a&client_secret={HUSH}".encode(), "")
    yield TokenAnswer(access_token=JWT, expires_in=1, scope="")
    yield DeviceSecret.model_validate({**about, "device_class": "default", "client_secret": HUSH})
    yield Device.model_validate({**about, "secrets": [hashed]})
    yield NewDevice.model_validate({**about, "client_secret": HUSH})
    yield Profile(server="https://a", device_id="car-7", client_secret=HUSH)


@pytest.mark.parametrize("thing", list(secretive()), ids=lambda thing: type(thing).__name__)
def test_the_repr_of_what_holds_a_secret_does_not_show_it(thing: object) -> None:
    shown = f"{thing!r} {thing}"
    assert HUSH not in shown
    assert SECRET not in shown
    assert "eyJ" not in shown
    assert "salt=" not in shown
    assert "hash=" not in shown


@pytest.mark.parametrize("model", [Device, NewDevice, Profile])
def test_a_record_that_cannot_be_read_is_not_quoted(model: type[Device | NewDevice | Profile]) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate({"client_secret": [HUSH], "secrets": HUSH})
    assert HUSH not in str(raised.value)


def test_a_stored_hash_is_not_quoted_either() -> None:
    hashed = SecretHash(salt="ab", hash="5e" * 32, expires_at=None)
    assert "5e5e" not in f"{hashed!r} {hashed}"


def test_the_message_of_a_setting_that_cannot_work_shows_no_password() -> None:
    error = ConfigurationError("JWKS_URL=https://user:hush@keys.example: no keys could be read there")
    assert str(error) == "JWKS_URL=https://user:***@keys.example: no keys could be read there"


@pytest.mark.parametrize("endpoint", ["key:hush@store:9000", "https://key:hush@store:9000"])
def test_an_endpoint_with_credentials_is_refused_without_them(endpoint: str) -> None:
    with pytest.raises(ValidationError) as raised:
        plain_settings(minio_endpoint=endpoint)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("value", ["hush", "correct://hush", "https://user:hush@host/", "amqp://[hush"])
def test_the_settings_in_force_are_shown_without_secrets(value: str) -> None:
    """Every secret, whatever it looks like; of an address the host may be seen."""
    names = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert len(names) >= 7
    if value == "correct://hush":
        names = [name for name in names if not name.endswith(("_url", "_uri"))]
    settings = plain_settings().model_copy(update=dict.fromkeys(names, SecretStr(value)))
    assert not [setting for setting in effective(settings) if "hush" in setting.value]


def test_of_an_address_all_but_its_secrets_is_shown() -> None:
    settings = plain_settings(
        rabbitmq_url="amqp://hiper:hush@broker:5672/vhost",
        limits_storage_uri="redis://redis:6379/0?password=hush",
        jwks_url="https://user:hush@keys.example/jwks",
    )
    shown = {setting.name: setting.value for setting in effective(settings)}
    assert shown["RABBITMQ_URL"] == "amqp://hiper:***@broker:5672/vhost"
    assert shown["LIMITS_STORAGE_URI"] == "redis://redis:6379/0?password=***"
    assert shown["JWKS_URL"] == "https://user:***@keys.example/jwks"
