"""The `hiper` command."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from libs.client import (
    commands_config,
    commands_devices,
    commands_download,
    commands_events,
    commands_files,
    commands_login,
    commands_top,
    commands_transfer,
)
from libs.client.console import show_all

app = typer.Typer(
    name="hiper",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Upload files over bad links, and always resume. Begin with `hiper login`.",
)
app.command()(commands_login.login)
app.command()(commands_transfer.upload)
app.command()(commands_download.download)
app.command()(commands_files.status)
app.command()(commands_files.ls)
app.command()(commands_events.events)
app.command()(commands_top.top)
app.command()(commands_files.rm)
app.add_typer(commands_devices.device, name="device")
app.add_typer(commands_config.config, name="config")


@app.command()
def serve(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; PORT by default.", metavar="PORT")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; HOST by default.", metavar="ADDRESS")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of all files and secrets. ./data, unless set elsewhere.", metavar="DIRECTORY"),
    ] = None,
) -> None:
    """Run a whole server in this process: no containers, no database; files in ./data.

    Every setting can be given by the environment or .env (see `hiper config check`); an option beats both.
    """
    from services.embedded.serve import main, set_options  # late: no other command needs the server's modules

    set_options(port, host, data_dir)
    main()


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"hiper {installed('hiper-automotive')}")
        except PackageNotFoundError:
            print("hiper (from a checkout that is not installed)")
        raise typer.Exit


@app.callback()
def hiper(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    show_all()


if __name__ == "__main__":
    app()
