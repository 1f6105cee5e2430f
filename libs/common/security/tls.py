"""Whom this process trusts, and what it shows of itself, when it connects to a store, a broker or an issuer of keys."""

import ssl
from pathlib import Path

from libs.common.settings import ConfigurationError, Settings


def trust(settings: Settings) -> ssl.SSLContext:
    """Certificates must be signed by a CA of TLS_CA_FILE (by default: of the system) and bear the name of the host.
    Raises ConfigurationError."""
    path = settings.tls_ca_file
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("TLS_CA_FILE", path, error) from error


def broker_trust(settings: Settings) -> ssl.SSLContext:
    """The same, with the certificate that the broker wants to see, where RABBITMQ_CERT_FILE names one."""
    context, path = trust(settings), settings.rabbitmq_cert_file
    if path:
        try:
            context.load_cert_chain(path, settings.rabbitmq_key_file)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("RABBITMQ_CERT_FILE, RABBITMQ_KEY_FILE", path, error) from error
    return context


def _unusable(setting: str, path: Path | None, error: Exception) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigurationError(f"{setting}: {path} cannot be used: {reason}. It must be a PEM file")
