"""Deliberate breakages of the code under test."""

from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True)
class Breakage:
    def applied(self) -> AbstractContextManager[None]:
        raise NotImplementedError


BREAKAGES: dict[str, Breakage] = {}
