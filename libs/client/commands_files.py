"""`hiper status`, `hiper ls` and `hiper rm`."""

from contextlib import aclosing
from typing import Annotated

import typer
from rich.table import Table

from libs.client.commands_transfer import Owner
from libs.client.console import client, complain, out, print_json, print_table, run, say
from libs.client.errors import HiperError
from libs.client.models import FileEntry, Status
from libs.client.sizes import format_size, printable, when

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Name = Annotated[str, typer.Argument(help="Name of the file on the server.", metavar="NAME")]


def status(
    name: Name,
    owner: Owner = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print each change until the file is complete.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far an upload is.

    `pending`: being uploaded. `partial`: nothing came for long; what is there is kept, and `hiper upload` goes on
    with it. `complete`: the whole file can be downloaded.
    """

    async def work() -> None:
        async with client() as hiper:
            if not watch:
                show(await hiper.status(name, owner=owner))
                return
            async with aclosing(hiper.watch(name, owner=owner)) as states:
                async for now in states:
                    show(now)
                    if now.status == "complete":
                        return

    def show(now: Status) -> None:
        print_json(now.model_dump(mode="json")) if as_json else say(_describe(now))

    run(work)


def _describe(now: Status) -> str:
    size = "?" if now.total_size is None else format_size(now.total_size)
    if now.status == "complete":
        return f"{now.filename}: complete, {size}, {when(now.last_updated)}"
    share = f" ({100 * now.received_bytes // now.total_size} %)" if now.total_size else ""
    received = f"{format_size(now.received_bytes)} of {size}{share}"
    return f"{now.filename}: {now.status}, {received}, last change {when(now.last_updated)}"


def ls(
    prefix: Annotated[
        str, typer.Argument(help="Only names that begin with this, such as drives/.", metavar="[PREFIX]")
    ] = "",
    owner: Owner = None,
    as_json: Json = False,
) -> None:
    """List files and unfinished uploads.

    A table on a terminal; elsewhere a line for each file: name, status, bytes, time, separated by tabs. With
    --json a JSON document for each line.
    """

    async def work() -> None:
        console = out()
        table = Table("NAME", "STATUS", "SIZE", "CHANGED", box=None, pad_edge=False)
        async with client() as hiper:
            async for entry in hiper.list(owner=owner, prefix=prefix):
                if as_json:
                    print_json(entry.model_dump(mode="json"))
                elif console.is_terminal:
                    size = format_size(entry.size) if entry.size is not None else "?"
                    table.add_row(printable(entry.filename), entry.status, size, when(entry.last_modified))
                else:
                    say_fields(entry)
        if table.rows:
            print_table(table)

    run(work)


def say_fields(entry: FileEntry) -> None:
    modified = entry.last_modified.isoformat() if entry.last_modified else ""
    size = "" if entry.size is None else str(entry.size)
    print(*(printable(entry.filename), entry.status, size, modified), sep="\t")


def rm(
    names: Annotated[list[str], typer.Argument(help="Names of the files on the server.", metavar="NAME...")],
    owner: Owner = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete files, or cancel their uploads and throw away what is there of them."""
    if not yes:
        listed = printable(", ".join(names))
        typer.confirm(f"Delete {listed}?" if len(names) == 1 else f"Delete {len(names)} files ({listed})?", abort=True)

    async def work() -> int:
        failures = 0
        async with client() as hiper:
            for name in names:
                try:
                    await hiper.delete(name, owner=owner)
                except HiperError as error:
                    complain(error, f"{name}: " if len(names) > 1 else "")
                    failures += 1
                else:
                    say(f"{name}: deleted")
        return failures

    if run(work):
        raise typer.Exit(1)
