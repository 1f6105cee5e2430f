"""`hiper events`."""

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import typer

from libs.client.console import client, err, flush, out, print_json, run
from libs.client.models import Outcome, OutcomeKind
from libs.client.sizes import format_size, printable, when

NOW = "now"


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each outcome that comes.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            help="Begin behind the outcome with this cursor; `now`: only with what comes. Default: all that is kept.",
            metavar="CURSOR",
        ),
    ] = None,
    cursor_file: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the cursor in this file, if it is there; keep the newest one in it.", metavar="FILE"
        ),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only the files of this device, or `fleet`.", metavar="ID")] = None,
    kind: Annotated[
        list[OutcomeKind] | None,
        typer.Option("--outcome", help="Only this one of the four; repeat for several.", metavar="OUTCOME"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a CloudEvent in JSON, with `cursor`.")] = False,
) -> None:
    """Show what became of files: complete, parked, rejected, deleted. Nothing is missed.

    An outcome is shown some seconds after it came true. It may be shown twice, with the same id. At its end the command
    says the cursor with which another call goes on. With the scope `fleet:read` it shows the files of all devices, else
    your own.
    """
    place = Place.of(after, cursor_file)

    async def work() -> None:
        in_columns = out().is_terminal
        async with client() as hiper:
            outcomes = hiper.outcomes(after=place.cursor, owner=owner, kinds=kind or (), follow=follow)
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    place.move(outcomes.cursor)
                    print_json(_document(outcome)) if as_json else _show(outcome, in_columns)
                    flush()
            place.move(outcomes.cursor)

    try:
        run(work)
    finally:
        place.tell()


def _document(outcome: Outcome) -> dict[str, object]:
    """With its cursor, if it has one: the outcomes in the middle of a page have none."""
    return outcome.model_dump(mode="json", exclude=None if outcome.cursor else {"cursor"})


def _show(outcome: Outcome, in_columns: bool) -> None:
    """In columns, or as fields with tabs between them."""
    size = outcome.size
    name = f"{printable(outcome.owner)}/{printable(outcome.filename)}"
    why = printable(str(outcome.data.get("why", "")))
    if in_columns:
        shown = "" if size is None else format_size(size)
        print(f"{when(outcome.time)}  {outcome.kind:<8}  {shown:>10}  {name}  {why}".rstrip())
    else:
        print(outcome.time.isoformat(), outcome.kind, "" if size is None else size, name, why, sep="\t")


@dataclass(slots=True)
class Place:
    """How far outcomes were shown."""

    cursor: str | None
    file: Path | None

    @classmethod
    def of(cls, after: str | None, file: Path | None) -> Self:
        """Raises OSError."""
        kept = file.read_text().strip() if file and file.exists() else ""
        return cls(kept or after, file)

    def move(self, cursor: str) -> None:
        """Everything before it was shown. Raises OSError."""
        if cursor in {"", self.cursor}:
            return
        self.cursor = cursor
        if self.file:
            draft = self.file.with_name(f"{self.file.name}.new")
            draft.write_text(f"{cursor}\n")
            draft.replace(self.file)

    def tell(self) -> None:
        """How to go on, where no file knows."""
        if self.cursor not in {None, NOW} and not self.file:
            err().print(f"go on with: --after {self.cursor}")
