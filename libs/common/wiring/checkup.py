"""What the settings amount to, and whether what they name can be reached: for people, before a start."""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from dotenv import dotenv_values
from pydantic import SecretStr
from yarl import URL

from libs.common.observability.redaction import MASK, redact
from libs.common.security.tokens import TokenVerifier
from libs.common.settings import ConfigurationError, Settings
from libs.common.storage import StoreUnavailable
from libs.common.wiring.needs import NEEDS, Bucket, Service
from libs.common.wiring.resources import bucket_need, new_bus, open_store

_ADDRESSES = {"rabbitmq_url", "limits_storage_uri"}  # secrets of which a part may be shown


class Setting(NamedTuple):
    """One setting as it is in force; secrets are masked. `source`: environment, .env or default."""

    name: str
    value: str
    source: str


class Check(NamedTuple):
    """Something that was tried. `trouble` is empty where it went well."""

    name: str
    trouble: str


def effective(settings: Settings) -> Iterator[Setting]:
    """Every setting, in the order of their definition."""
    file = settings.model_config.get("env_file")
    in_file = {name.upper() for name in dotenv_values(file if isinstance(file, str) else None)}
    in_environment = {name.upper() for name in os.environ}
    for field in Settings.model_fields:
        name = field.upper()
        source = "environment" if name in in_environment else ".env" if name in in_file else "default"
        yield Setting(name, _shown(field, getattr(settings, field)), source)


def _shown(name: str, value: Any) -> str:
    if not isinstance(value, SecretStr):
        return "" if value is None else redact(str(value))
    secret = value.get_secret_value()
    if name not in _ADDRESSES or "://" not in secret:
        return MASK if secret else ""
    try:
        url = URL(secret)  # all of it but its password and parameters helps whoever reads this
    except ValueError:
        return MASK
    hidden = url.with_query(dict.fromkeys(url.query, MASK))
    return str(hidden.with_password(MASK) if url.password else hidden)


async def check_connections(settings: Settings, service: Service, *, make: bool) -> AsyncIterator[Check]:
    """Try once what the service needs at its start: the keys, its rights in each bucket, the broker. A bucket that is
    missing is made only if `make`."""
    needs = NEEDS[service]
    if needs.keys:
        yield Check("keys", redact(await _keys(settings)))
    for name in needs.buckets:
        yield Check(f"{name} bucket", redact(await _bucket(settings, service, name, make)))
    if needs.broker and settings.event_bus != "memory":
        yield Check("broker", redact(await _broker(settings)))


async def _keys(settings: Settings) -> str:
    try:
        verifier = TokenVerifier(settings)
    except ConfigurationError as error:
        return str(error)
    await verifier.start()
    ready = verifier.ready
    await verifier.close()
    return "" if ready else f"JWKS_URL={settings.jwks_url}: no keys could be read there"


async def _bucket(settings: Settings, service: Service, name: Bucket, make: bool) -> str:
    async with open_store(settings, name) as store:
        try:
            await bucket_need(settings, service, name, store).meet(make=make)
        except StoreUnavailable as error:
            return str(error)
    return ""


async def _broker(settings: Settings) -> str:
    bus = new_bus(settings)
    await bus.start()
    trouble = "" if bus.connected else bus.trouble or "it does not answer"
    await bus.close(grace=0)
    return trouble
