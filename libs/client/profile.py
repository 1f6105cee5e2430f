"""Whose credentials the `hiper` command uses: the environment's, or those that `hiper login` saved."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.client.address import check_server
from libs.client.errors import HiperError

DEFAULT_SERVER = "http://127.0.0.1:8000"


class Profile(BaseModel):
    """A server, and the id and secret that it knows us by."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    server: str
    device_id: str
    client_secret: str = Field(repr=False)


def profile_path(env: Mapping[str, str]) -> Path:
    """Where the profile is (XDG Base Directory Specification: a relative XDG_CONFIG_HOME is ignored). Raises
    HiperError where the user has no home directory."""
    config = Path(env.get("XDG_CONFIG_HOME", ""))
    try:
        base = config if config.is_absolute() else Path.home() / ".config"
    except RuntimeError:
        raise HiperError(
            "there is no home directory for the login", "set HOME, XDG_CONFIG_HOME, or HIPER_SERVER and the others"
        ) from None
    return base / "hiper" / "profile.json"


def save(profile: Profile, path: Path) -> None:
    """Replace the profile. Nobody else can read it, not for a moment (mode 0600 from its creation)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(profile.model_dump(), indent=2) + "\n")
    draft.replace(path)


def load(path: Path) -> Profile | None:
    """The saved profile; None if there is none. Raises HiperError if it cannot be used."""
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise HiperError(f"cannot use {path}: {_first_line(error)}", "write it anew: hiper login") from error


def credentials(env: Mapping[str, str]) -> Profile:
    """HIPER_SERVER, HIPER_DEVICE_ID and HIPER_DEVICE_SECRET, or what is missing of them from the profile.

    Id and secret come from one place, and the profile's go to the profile's server only: a secret is never
    sent to a server that it was not meant for. Raises HiperError."""
    server, device_id, secret = (env.get(f"HIPER_{name}", "") for name in ("SERVER", "DEVICE_ID", "DEVICE_SECRET"))
    if bool(device_id) != bool(secret):
        raise HiperError("HIPER_DEVICE_ID and HIPER_DEVICE_SECRET belong together", "set both, or neither")
    saved = None if server and device_id else _saved(env)
    if device_id:
        return Profile(
            server=server or (saved.server if saved else DEFAULT_SERVER),
            device_id=device_id,
            client_secret=secret,
        )
    if saved is None:
        raise HiperError(
            "not logged in", "run: hiper login (or set HIPER_SERVER, HIPER_DEVICE_ID, HIPER_DEVICE_SECRET)"
        )
    if server and check_server(server) != saved.server:
        raise HiperError(
            f"HIPER_SERVER is {server}, but the saved login is for {saved.server}",
            f"run: hiper login --server {server}",
        )
    return saved


def _saved(env: Mapping[str, str]) -> Profile | None:
    """None also for a user without a home directory, who cannot have saved one."""
    try:
        path = profile_path(env)
    except HiperError:
        return None
    return load(path)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
