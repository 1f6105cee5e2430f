"""`hiper device ...`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from libs.client.commands_files import Json
from libs.client.console import client, err, out, print_json, print_table, run, say
from libs.client.device_table import cells, device_table, say_fields, warn_of_damage
from libs.client.sizes import format_size, printable

Id = Annotated[str, typer.Argument(help="Id of the device.", metavar="ID")]

device = typer.Typer(no_args_is_help=True, help="Register, list and revoke devices (needs the scope `admin`).")


@device.command()
def add(
    device_id: Id,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do; repeat for several. Default: its own files.", metavar="SCOPE"),
    ] = None,
    device_class: Annotated[
        str | None, typer.Option("--class", help="Class of devices whose limits count for it.", metavar="CLASS")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a device and print its secret, which is shown this once.

    Scopes: files:read, files:write (its own files, and reading the fleet's), fleet:read (any device's files),
    fleet:write (publish to all), fleet:manage (delete any device's files), admin (devices).
    """

    async def work() -> None:
        async with client() as hiper:
            new = await hiper.devices.register(device_id, scope or None, device_class)
        if as_json:
            print_json(new.model_dump(mode="json"))
        else:
            say(f"device {new.device_id} registered ({' '.join(new.scopes)}); its secret, shown this once:")
            print(new.client_secret)

    run(work)


@device.command("class")
def classify(
    device_id: Id, device_class: Annotated[str, typer.Argument(help="Its new class.", metavar="CLASS")]
) -> None:
    """Put a device into another class. Its limits count from the device's next token on."""

    async def work() -> None:
        async with client() as hiper:
            changed = await hiper.devices.classify(device_id, device_class)
        say(f"device {changed.device_id} is of class {changed.device_class}")

    run(work)


@device.command("ls")
def ls_devices(as_json: Json = False) -> None:
    """List the devices, each with its last request, its uploads and bytes, and its last refusal.

    A table on a terminal; elsewhere a line for each: id, time of registration, scopes, time when it was seen last, time
    and reason of its last refusal, separated by tabs. `damaged` in place of the scopes: what the server stores of the
    device cannot be read.
    """

    async def work() -> None:
        console, table = out(), device_table()
        async with client() as hiper:
            async for known in hiper.devices.list():
                if as_json:
                    print_json(known.model_dump(mode="json"))
                elif console.is_terminal:
                    table.add_row(*cells(known))
                else:
                    say_fields(known)
                warn_of_damage(known)
        if table.rows:
            print_table(table)

    run(work)


@device.command()
def revoke(
    device_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of devices; `admin`: only its tokens end.", metavar="ID...")
    ] = None,
    listed_in: Annotated[
        typer.FileText | None,
        typer.Option("--from", help="File with an id in each line; -: standard input.", metavar="FILE"),
    ] = None,
) -> None:
    """Forget devices: their secrets are refused at once, their tokens within 30 seconds. Their files stay: see `hiper
    device purge`."""
    listed = [line.strip() for line in listed_in or ()]
    wanted = [*(device_ids or ()), *(line for line in listed if line)]
    if not wanted:
        raise typer.BadParameter("name at least one device, or a file of ids with --from", param_hint="ID...")

    async def work() -> Sequence[str]:
        async with client() as hiper:
            if wanted == [wanted[0]] and wanted[0] != "admin":
                await hiper.devices.revoke(wanted[0])
                return []
            return await hiper.devices.revoke_all(wanted)

    unknown = run(work)
    for device_id in wanted:
        if device_id in unknown:
            err().print(printable(f"error: no device has the id {device_id}"))
        else:
            say(f"device {device_id} revoked")
    if unknown:
        raise typer.Exit(1)


@device.command()
def purge(
    device_id: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Delete every file of a device, and cancel its uploads (needs the scope `fleet:manage`).

    Shows what would go, and asks. For a device that was revoked: wait 30 seconds, until its tokens have ended. Its id
    can be registered again some seconds after the purge. Run the same command again if it broke off.
    """

    async def show() -> list[int]:
        sizes = []
        async with client() as hiper:
            async for file in hiper.devices.purge(device_id, dry_run=True):
                sizes.append(file.size or 0)
                print(printable(file.filename), file.status, "" if file.size is None else file.size, sep="\t")
        return sizes

    async def delete() -> int:
        async with client() as hiper:
            return len([file async for file in hiper.devices.purge(device_id, dry_run=False)])

    sizes = run(show)
    about = f"{len(sizes)} files and uploads, {format_size(sum(sizes))}"
    if not sizes or dry_run:
        say(f"device {device_id} has {about}")
        return
    if not yes:
        typer.confirm(f"Delete {about}?", abort=True)
    say(f"device {device_id}: {run(delete)} deleted")
