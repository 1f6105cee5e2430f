"""What each service needs of the stores, the broker and the keys: tried when it starts, and by `hiper config check`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from libs.common.uploads.layout import PROBES, REVOKED

Bucket = Literal["temp", "perm", "auth"]


class Service(StrEnum):
    """A kind of process. SERVE is `hiper serve`: all the others in one."""

    INGEST = "ingest"
    ASSEMBLER = "assembler"
    JANITOR = "janitor"
    AUTH = "auth"
    SERVE = "serve"


@dataclass(frozen=True)
class Rights:
    """In one bucket: to list it, to read the key `reads`, and, if `writes`, to write and delete."""

    reads: str = f"{PROBES}none"
    writes: bool = True


@dataclass(frozen=True)
class Needs:
    """Of one service. `keys`: those by which tokens are verified; `broker`: it publishes or consumes events."""

    buckets: Mapping[Bucket, Rights]
    keys: bool
    broker: bool


NEEDS: Mapping[Service, Needs] = {
    Service.INGEST: Needs(
        {"temp": Rights(), "perm": Rights(), "auth": Rights(reads=REVOKED, writes=False)}, keys=True, broker=True
    ),
    Service.ASSEMBLER: Needs({"temp": Rights(), "perm": Rights()}, keys=False, broker=True),
    Service.JANITOR: Needs({"temp": Rights(), "perm": Rights()}, keys=False, broker=True),
    Service.AUTH: Needs({"auth": Rights()}, keys=True, broker=False),
    Service.SERVE: Needs({"temp": Rights(), "perm": Rights(), "auth": Rights()}, keys=True, broker=True),
}
