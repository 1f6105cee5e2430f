"""`hiper upload`."""

import asyncio
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

import typer

from libs.client.bars import Reporter, reporter
from libs.client.client import CHUNK_SIZE, JOBS, TRANSFER_PATIENCE, HiperClient
from libs.client.console import client, complain, err, labels_option, run, say, size_option
from libs.client.errors import HiperError
from libs.client.models import UploadResult
from libs.client.sizes import format_size

Owner = Annotated[
    str | None,
    typer.Option(help="Whose file it is: a device id or `fleet`. Yours, unless given.", metavar="ID"),
]
FILES_PER_JOB = 4  # files in hand at once: most of the time one waits for the server to complete it
RetryFor = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Give up after this long without any progress.")
]


def upload(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files to upload, and directories with all that is in them; - for standard input (needs --name).",
            metavar="FILE...",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name on the server, if not the file's own; of a directory, the folder that its files go to (one FILE "
            "only).",
            metavar="NAME",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Say something of the files: kept with each that is begun now.", metavar="KEY=VALUE"),
    ] = None,
    owner: Owner = None,
    chunk_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Most bytes in one request, such as 512KiB.")
    ] = "8MiB",
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="Chunks on their way at the same time, of all files together.")
    ] = JOBS,
    size: Annotated[
        int | None,
        typer.Option(min=0, metavar="BYTES", help="Upload nothing unless FILE has this size (one FILE only)."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away what the server has of other content under the name.")
    ] = False,
    limit_rate: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most bytes per second of all files together, such as 500KiB."),
    ] = None,
    retry_for: RetryFor = TRANSFER_PATIENCE,
) -> None:
    """Upload files, or go on with uploads that were interrupted.

    Run the same command again after any interruption: only what the server lacks is sent. A file that is there
    already, with the same content, is not sent at all. A file that changes while it is sent is begun anew. The files of
    a directory are named by their paths in it.

    Examples:

      hiper upload drive-0417.mcap

      hiper upload --owner fleet --name firmware-2.4.bin build/out.bin

      hiper upload drive-0417/ --name drives/0417 --label vehicle=car-7

      tar -c logs | hiper upload - --name logs.tar
    """
    if len(files) > 1 and name is not None:
        raise typer.BadParameter("only for a single FILE", param_hint="--name")
    if Path("-") in files and name is None:
        raise typer.BadParameter("needed for standard input", param_hint="--name")
    labels = labels_option(label)
    items = [item for path in files for item in _items(path, name)]
    if size is not None and len(items) != 1:
        raise typer.BadParameter("only for a single FILE", param_hint="--size")
    chunk, rate = size_option(chunk_size, "--chunk-size") or CHUNK_SIZE, size_option(limit_rate, "--limit-rate")

    async def work() -> int:
        with reporter(err()) as shown:
            async with client(retry_for, shown.retrying, limit_rate=rate) as hiper:
                uploads = _Uploads(hiper, shown, owner, chunk, jobs, size, replace, labels)
                return await uploads.run(items)

    if run(work, "interrupted; run the same command again to go on from here"):
        raise typer.Exit(1)


class _Item(NamedTuple):
    """A file, and its name on the server."""

    path: Path
    name: str


def _items(path: Path, name: str | None) -> list[_Item]:
    """The file, or all files in the directory: links to directories, and what is no file, are left out."""
    if not path.is_dir():
        return [_Item(path, name or path.name)]
    files = sorted(one for one in path.rglob("*") if one.is_file())
    if not files:
        raise typer.BadParameter(f"there is no file in {path}", param_hint="FILE...")
    below = f"{name.rstrip('/')}/" if name else ""
    return [_Item(one, below + one.relative_to(path).as_posix()) for one in files]


@dataclass(slots=True)
class _Uploads:
    """The files of one command."""

    hiper: HiperClient
    shown: Reporter
    owner: str | None
    chunk_size: int
    jobs: int
    size: int | None
    replace: bool
    labels: dict[str, str]

    async def run(self, items: list[_Item]) -> int:
        """How many failed. The others are tried in any case."""
        waiting, slots = iter(items), asyncio.Semaphore(self.jobs)
        in_hand = min(len(items), self.jobs * FILES_PER_JOB)
        return sum(await asyncio.gather(*(self._next_ones(waiting, slots) for _ in range(in_hand))))

    async def _next_ones(self, waiting: Iterator[_Item], slots: asyncio.Semaphore) -> int:
        failures = 0
        for item in waiting:
            failures += not await self._one(item, slots)
        return failures

    async def _one(self, item: _Item, slots: asyncio.Semaphore) -> bool:
        source: Path | BinaryIO = sys.stdin.buffer if item.path == Path("-") else item.path
        try:
            result = await self.hiper.upload(
                source, item.name, owner=self.owner, chunk_size=self.chunk_size, jobs=self.jobs, slots=slots,
                size=self.size, replace=self.replace, labels=self.labels, progress=self.shown.track(item.name),
            )  # fmt: skip
        except (HiperError, OSError) as error:
            if isinstance(error, HiperError) and error.replaceable and not self.replace:
                error.hint = f"to throw that away and send this file: {self._with_replace(item)}"
            complain(error)
            return False
        say(_summary(result))
        return True

    def _with_replace(self, item: _Item) -> str:
        """The command to type."""
        words = ["hiper", "upload", "--replace"]
        words += ["--owner", self.owner] if self.owner else []
        path = item.path
        words += ["--name", item.name] if item.name != path.name else []
        words += ["--"] if str(path).startswith("-") and path != Path("-") else []
        return shlex.join([*words, str(path)])


def _summary(result: UploadResult) -> str:
    size = format_size(result.total_size)
    if result.sent_bytes >= result.total_size:
        return f"{result.filename}: uploaded, {size}"
    if not result.sent_bytes:
        return f"{result.filename}: there already, {size}"
    return f"{result.filename}: uploaded, {size} ({format_size(result.sent_bytes)} of it now)"
