"""How `hiper device ls` shows devices."""

from rich.table import Table

from libs.client.console import err
from libs.client.models import ListedDevice
from libs.client.sizes import format_size, printable, when


def device_table() -> Table:
    return Table("ID", "SEEN", "UPLOADS", "STORED", "SCOPES", "LAST REFUSAL", box=None, pad_edge=False)


def cells(known: ListedDevice) -> list[str]:
    refusal, stored = known.last_refusal, known.bytes_stored
    allowed = "" if known.bytes_allowed is None else f" of {format_size(known.bytes_allowed)}"
    return [
        printable(known.device_id),
        when(known.last_seen) if known.last_seen else "-",
        "?" if known.uploads_open is None else str(known.uploads_open),
        "?" if stored is None else f"{format_size(stored)}{allowed}",
        _scopes(known),
        printable(f"{when(refusal.when)} {refusal.why}") if refusal else "-",
    ]


def say_fields(known: ListedDevice) -> None:
    refusal = known.last_refusal
    times = [known.created_at, known.last_seen, refusal.when if refusal else None]
    created, seen, refused = (moment.isoformat() if moment else "" for moment in times)
    why = printable(refusal.why) if refusal else ""
    print(printable(known.device_id), created, _scopes(known), seen, refused, why, sep="\t")


def _scopes(known: ListedDevice) -> str:
    return "damaged" if known.damaged else printable(" ".join(known.scopes))


def warn_of_damage(known: ListedDevice) -> None:
    if known.damaged:
        err().print(
            printable(
                f"warning: what the server stores of device {known.device_id} is damaged: it gets no token. Restore "
                f"devices/{known.device_id}.json in the bucket of auth; or hiper device revoke {known.device_id}, then "
                "add it anew"
            )
        )
