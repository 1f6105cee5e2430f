"""`hiper serve`: everything in one process, with secrets made at the first start."""

import os
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.observability.telemetry import say
from libs.common.settings import SYMMETRIC, Settings
from libs.common.web.listening import url_of
from libs.common.web.serving import run
from services.auth.bootstrap import load_or_create_secret
from services.embedded.app import build_app

DIRECTORIES = {"TEMP_UPLOAD": "temp", "PERM_UPLOAD": "perm", "AUTH": "auth"}  # of the filesystem store


def with_secrets(settings: Settings) -> Settings:
    """The settings, with secrets from the data directory where the environment has none."""
    made = {}
    for name, needed in (("secret_key", settings.algorithm in SYMMETRIC), ("admin_secret", True)):
        if needed and not getattr(settings, name).get_secret_value():
            path = secrets_directory(settings) / name
            made[name] = SecretStr(load_or_create_secret(path))
            say(f"{name.upper()} is not set: using the one in {path} (mode 0600)", settings.log_format)
    return settings.model_copy(update=made)


def secrets_directory(settings: Settings) -> Path:
    return settings.auth_dir.parent / "secrets"


def build(settings: Settings) -> FastAPI:
    complete = with_secrets(settings)
    docs = " (docs at /docs)" if settings.docs_enabled else ""
    say(f"HiPER-Automotive listens at {url_of(settings.host, settings.port)}{docs}", settings.log_format)
    if settings.admin_api_port:
        devices = url_of(settings.admin_api_host, settings.admin_api_port)
        say(f"Devices are registered at {devices} alone (ADMIN_API_PORT)", settings.log_format)
    return build_app(complete)


def set_options(port: int | None, host: str | None, data_dir: Path | None) -> None:
    """Put options of the command into the environment of this process: it beats .env."""
    given = {"PORT": port, "HOST": host}
    if data_dir is not None:
        given |= {f"{kind}_DIR": str(data_dir / name) for kind, name in DIRECTORIES.items()}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})


def main() -> None:
    run(build, lambda settings: settings.port, has_devices=True)


if __name__ == "__main__":
    main()
