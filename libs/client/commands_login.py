"""`hiper login`."""

import os
import sys
from typing import Annotated

import typer

from libs.client.address import check_server
from libs.client.client import HiperClient
from libs.client.console import err, fail, run, say
from libs.client.errors import HiperError
from libs.client.identity import identity
from libs.client.profile import DEFAULT_SERVER, Profile, profile_path, save
from libs.client.proxies import exposure, proxy_for
from libs.client.sizes import printable


def login(
    server: Annotated[
        str | None, typer.Option(envvar="HIPER_SERVER", help="Address of the server.", metavar="URL")
    ] = None,
    device_id: Annotated[
        str | None,
        typer.Option("--id", envvar="HIPER_DEVICE_ID", help="Id of the device, or `admin`.", metavar="ID"),
    ] = None,
    secret_stdin: Annotated[
        bool,
        typer.Option("--secret-stdin", help="Read the secret from standard input, and ask for nothing."),
    ] = False,
) -> None:
    """Save who you are, so that the other commands need not ask.

    The id and secret are checked with the server and saved in ~/.config/hiper/profile.json, readable by you only.
    HIPER_SERVER, HIPER_DEVICE_ID and HIPER_DEVICE_SECRET, where set, are used instead of the saved ones.
    HIPER_CLIENT_CERT and HIPER_CLIENT_KEY: PEM files of the certificate to show, where the server asks for one.
    """
    if secret_stdin:
        if not device_id:
            raise typer.BadParameter("needed together with --secret-stdin", param_hint="--id")
        profile = _profile(server or DEFAULT_SERVER, device_id, sys.stdin.readline().strip())
    else:
        profile = _profile(
            server or typer.prompt("Server", default=DEFAULT_SERVER),
            device_id or typer.prompt("Id"),
            typer.prompt("Secret", hide_input=True),
        )
    run(lambda: _log_in(profile))


def _profile(server: str, device_id: str, secret: str) -> Profile:
    try:
        return Profile(server=check_server(server), device_id=device_id, client_secret=secret)
    except HiperError as error:
        fail(error)


async def _log_in(profile: Profile) -> None:
    path = profile_path(os.environ)
    who = profile.device_id, profile.client_secret
    tls, proxy = identity(os.environ), proxy_for(profile.server)
    async with HiperClient(profile.server, *who, retry_for=0, tls=tls, proxy=proxy) as hiper:
        await hiper.verify()
    save(profile, path)
    say(f"logged in to {profile.server} as {profile.device_id} (saved in {path})")
    if warning := exposure(profile.server, proxy):
        err().print(printable(warning))
