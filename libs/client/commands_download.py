"""`hiper download`."""

from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from libs.client.bars import reporter
from libs.client.client import JOBS, TRANSFER_PATIENCE
from libs.client.commands_transfer import Owner, RetryFor
from libs.client.console import client, complain, err, run, size_option
from libs.client.models import DownloadResult
from libs.client.patterns import chosen
from libs.client.places import Downloads, Place


def download(
    names: Annotated[
        list[str],
        typer.Argument(help="Names of files on the server, or patterns such as '*.mcap' in quotes.", metavar="NAME..."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File or directory to write to, or - for standard output. A directory that is missing is made if "
            "PATH ends in a slash.",
        ),
    ] = None,
    owner: Owner = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")] = False,
    unverified: Annotated[
        bool,
        typer.Option("--unverified", help="With --force: replace them too where the server knows no digest."),
    ] = False,
    require_digest: Annotated[
        bool,
        typer.Option("--require-digest", help="Take no file that the server knows no digest of."),
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Files on their way at the same time.")] = JOBS,
    limit_rate: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most bytes per second of all files together, such as 500KiB."),
    ] = None,
    retry_for: RetryFor = TRANSFER_PATIENCE,
) -> None:
    """Download files, or go on with downloads that were interrupted.

    The bytes of a file gather in PATH.part and get their name when they are complete and verified. Run the same command
    again after any interruption: a file that is there already, with the same content, is not fetched again.

    Examples:

      hiper download drive-0417.mcap

      hiper download 'drive-*.mcap' maps.bin -o drives/

      hiper download 'drives/2026-*/**' -o out/

      hiper download --owner car-7 drive-0417.mcap -o - | mcap info /dev/stdin
    """
    rate = size_option(limit_rate, "--limit-rate")
    place = Place.of(output)
    if len(names) > 1 and not place.holds_many:
        raise typer.BadParameter("several files need a directory, such as out/", param_hint="--output")

    async def work() -> int:
        with reporter(err()) as shown:
            async with client(retry_for, shown.retrying, rate) as hiper:

                async def fetch(name: str, target: "Path | BinaryIO") -> DownloadResult:
                    return await hiper.download(
                        name, target, owner=owner, progress=shown.track(name), replace=force,
                        replace_unverified=unverified, require_digest=require_digest,
                    )  # fmt: skip

                wanted, errors = await chosen(hiper, names, owner)
                for error in errors:
                    complain(error)
                return len(errors) + await Downloads(place, fetch).run(wanted, jobs)

    if run(work, "interrupted; run the same command again to go on from here"):
        raise typer.Exit(1)
