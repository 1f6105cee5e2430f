"""Pinning a request to the upload that it is about: If-Match and If-None-Match (RFC 9110, section 13.1)."""

from collections.abc import Collection
from dataclasses import dataclass

from libs.common.problems import Kind, Problem


@dataclass(frozen=True)
class Pin:
    """Entity tags that a request names; None where the header is absent, {"*"} for any."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    @classmethod
    def parse(cls, if_match: str | None, if_none_match: str | None) -> "Pin":
        return cls(
            None if if_match is None else parse_tags(if_match),
            None if if_none_match is None else parse_tags(if_none_match),
        )

    def admit(self, current: Collection[str]) -> None:
        """Raise PRECONDITION_FAILED unless the request is about what is there: the ids of the open sessions (or of
        the one that made the complete file); empty where there is nothing."""
        if self.match is not None and not _meets(self.match, current):
            there = "it is " + ", ".join(f'"{tag}"' for tag in current) if current else "there is none"
            raise Problem(
                Kind.PRECONDITION_FAILED, f"If-Match names another upload of this file than the current one: {there}."
            )
        if self.none_match is not None and _meets(self.none_match, current):
            raise Problem(
                Kind.PRECONDITION_FAILED,
                "If-None-Match asks to start an upload, but one is open or the file is complete: ask for its status.",
            )

    def admit_upload(self, session: str, *, parked: bool) -> None:
        """As `admit`, for a chunk of an upload in progress. A device that begins anew may go on with one that went
        stale: for it nothing was open."""
        self.admit([] if parked and self.match is None else [session])


NO_PIN = Pin()


def parse_tags(field: str) -> frozenset[str]:
    """The opaque tags of an If-Match or If-None-Match field value; weak marks are dropped. Session ids and thus all
    tags of this server hold no comma or quote."""
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in field.split(","))
    return frozenset(tag for tag in tags if tag)


def etag(session: str) -> str:
    return f'"{session}"'


def _meets(tags: frozenset[str], current: Collection[str]) -> bool:
    return bool(current) if "*" in tags else not tags.isdisjoint(current)
