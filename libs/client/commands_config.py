"""`hiper config`: for the operator of a server."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.table import Table

from libs.client.console import complain, out, print_json
from libs.common.settings import ConfigurationError, Settings

Separate = Literal["ingest", "assembler", "janitor", "auth"]

config = typer.Typer(no_args_is_help=True, help="The settings of a server, from the environment and .env.")


@config.callback()
def _config() -> None:
    pass


@config.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
    service: Annotated[
        Separate | None, typer.Option(help="Try only what this service needs, with the rights that it needs.")
    ] = None,
) -> None:
    """Print the settings in force, secrets masked, and try every connection that they name.

    Without --service it tries all that `hiper serve` needs, and makes missing buckets as a start does. In the container
    of one service give its name: then a missing bucket is an error, and is not made. Ends with 1 if something does not
    work, with 2 if a setting cannot be what it is.
    """
    from libs.common.observability.telemetry import configure_logging
    from libs.common.web.serving import load_settings  # late: no other command needs the server's modules

    try:
        settings = load_settings()
    except ConfigurationError as error:
        complain(error)
        raise typer.Exit(2) from None
    configure_logging(settings)
    logging.disable()  # the report says it all
    sys.exit(0 if asyncio.run(_report(settings, service, as_json)) else 1)


async def _report(settings: Settings, service: Separate | None, as_json: bool) -> bool:
    from libs.common.wiring.checkup import check_connections, effective
    from libs.common.wiring.needs import Service

    rows = list(effective(settings))
    if not as_json:
        out().print(_table(("SETTING", "VALUE", "FROM"), rows))
    trying = check_connections(settings, Service(service or "serve"), make=service is None)
    checks = [found async for found in trying]
    if as_json:
        print_json({"settings": [row._asdict() for row in rows], "checks": [found._asdict() for found in checks]})
    else:
        out().print(_table(("TRIED", "RESULT"), [(found.name, found.trouble or "ok") for found in checks]))
    return not any(found.trouble for found in checks)


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table
