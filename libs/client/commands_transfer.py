"""`hiper upload`."""

from pathlib import Path
from typing import Annotated

import typer

from libs.client.bars import Reporter, reporter
from libs.client.client import JOBS, TRANSFER_PATIENCE, HiperClient
from libs.client.console import client, complain, err, run, say
from libs.client.errors import HiperError
from libs.client.models import UploadResult
from libs.client.sizes import format_size, parse_size

Owner = Annotated[
    str | None,
    typer.Option(help="Whose file it is: a device id or `fleet`. Yours, unless given.", metavar="ID"),
]
RetryFor = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Give up after this long without any progress.")
]


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--chunk-size") from error


def upload(
    files: Annotated[list[Path], typer.Argument(help="Files to upload, one after another.", metavar="FILE...")],
    name: Annotated[
        str | None,
        typer.Option(help="Name on the server, if not the file's own (one FILE only).", metavar="NAME"),
    ] = None,
    owner: Owner = None,
    chunk_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Most bytes in one request, such as 512KiB.")
    ] = "8MiB",
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Chunks on their way at the same time.")] = JOBS,
    retry_for: RetryFor = TRANSFER_PATIENCE,
) -> None:
    """Upload files, or go on with uploads that were interrupted.

    Run the same command again after any interruption: only what the server lacks is sent. A file that is there
    already, with the same content, is not sent at all.

    Examples:

      hiper upload drive-0417.mcap

      hiper upload --owner fleet --name firmware-2.4.bin build/out.bin
    """
    if name is not None and len(files) > 1:
        raise typer.BadParameter("only for a single FILE", param_hint="--name")
    size = _size(chunk_size)

    async def work() -> int:
        failures = 0
        with reporter(err()) as shown:
            async with client(retry_for, shown.retrying) as hiper:
                for path in files:
                    failures += not await _upload_one(hiper, shown, path, name, owner, size, jobs)
        return failures

    if run(work, "interrupted; run the same command again to go on from here"):
        raise typer.Exit(1)


async def _upload_one(
    hiper: HiperClient,
    shown: Reporter,
    path: Path,
    name: str | None,
    owner: str | None,
    chunk_size: int,
    jobs: int,
) -> bool:
    """Whether it worked; the next file is tried in any case."""
    try:
        result = await hiper.upload(
            path, name, owner=owner, chunk_size=chunk_size, jobs=jobs, progress=shown.track(name or path.name)
        )
    except (HiperError, OSError) as error:
        complain(error)
        return False
    say(_summary(result))
    return True


def _summary(result: UploadResult) -> str:
    size = format_size(result.total_size)
    if result.sent_bytes == result.total_size:
        return f"{result.filename}: uploaded, {size}"
    if not result.sent_bytes:
        return f"{result.filename}: there already, {size}"
    return f"{result.filename}: uploaded, {size} ({format_size(result.sent_bytes)} of it now)"
