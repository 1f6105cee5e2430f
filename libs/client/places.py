"""Where the files of one `hiper download` go, and how it ends for each."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from libs.client.console import complain, err, say
from libs.client.errors import HiperError, TargetExistsError
from libs.client.models import DownloadResult
from libs.client.names import RemoteFile
from libs.client.sizes import format_size
from libs.client.window import together

Fetch = Callable[[str, "Path | BinaryIO"], Awaitable[DownloadResult]]


@dataclass(frozen=True, slots=True)
class Place:
    """`path` is a directory where `holds_many`; None is standard output."""

    path: Path | None
    holds_many: bool

    @classmethod
    def of(cls, output: str | None) -> Self:
        """What `-o` says. A slash at the end makes it a directory, there or not."""
        if output in {"-", "/dev/stdout"}:
            return cls(None, False)
        path = Path(output or ".")
        return cls(path, output is None or output.endswith("/") or path.is_dir())

    def prepare(self) -> None:
        """Raises OSError."""
        if self.path and self.holds_many:
            self.path.mkdir(parents=True, exist_ok=True)

    def target(self, name: str) -> "Path | BinaryIO":
        """Where a file goes; its folders are made. Raises HiperError for a name that would lead elsewhere, and where
        stdout is closed, and OSError."""
        if self.path:
            return self._below(self.path, RemoteFile.of(name, None).filename) if self.holds_many else self.path
        if sys.stdout is None:
            raise HiperError("standard output is closed", "choose another place with -o")
        return sys.stdout.buffer

    @staticmethod
    def _below(directory: Path, filename: str) -> Path:
        """No link in the directory leads out of it: another file may have come with that name."""
        path = directory / filename
        if not path.parent.resolve().is_relative_to(directory.resolve()):
            raise TargetExistsError(
                f"{path.parent} is a link that leads out of {directory}", "choose another directory"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(slots=True)
class Downloads:
    """Some files at once; one that fails does not stop the others."""

    place: Place
    fetch: Fetch
    failures: int = 0
    _landed: dict[tuple[int, int], str] = field(default_factory=dict)  # names by device and inode of their files

    async def run(self, names: Sequence[str], jobs: int) -> int:
        """The number of files that failed."""
        if len(names) > 1 and not self.place.holds_many:
            raise HiperError(f"{len(names)} files match, and -o is no directory", "name one, such as -o out/")
        if names:
            self.place.prepare()
        remaining = iter(names)

        async def work() -> None:
            for name in remaining:
                await self._one(name, f"{name}: " if len(names) > 1 else "")

        await together(work() for _ in range(min(jobs, len(names))))
        if len(names) > 1:
            failed = f", {self.failures} failed" if self.failures else ""
            err().print(f"{len(names) - self.failures} of {len(names)} files are here{failed}")
        return self.failures

    async def _one(self, name: str, about: str) -> None:
        try:
            target = self.place.target(name)
            self._check(name, target)
            result = await self.fetch(name, target)
        except (HiperError, OSError) as error:
            if isinstance(error, BrokenPipeError) and not self.place.path:
                raise
            complain(error, about)
            self.failures += 1
            return
        if result.path:
            there = result.path.stat()
            self._landed[there.st_dev, there.st_ino] = name
            say(_summary(result))

    def _check(self, name: str, target: "Path | BinaryIO") -> None:
        """Two names may be one to the file system: upper and lower case, or forms of a letter."""
        if isinstance(target, Path) and target.exists():
            there = target.stat()
            if other := self._landed.get((there.st_dev, there.st_ino)):
                raise TargetExistsError(f"{target} is {other!r} already", f"download {name!r} to another directory")


def _summary(result: DownloadResult) -> str:
    verified = "verified" if result.verified else "the server knows no digest to verify it by"
    done = "downloaded" if result.received_bytes or not result.total_size else "there already"
    return f"{result.path}: {done}, {format_size(result.total_size)} ({verified})"
