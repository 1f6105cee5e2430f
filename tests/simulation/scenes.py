"""Meetings that chance alone hardly ever arranges: a seed may set one up, and leave the rest to chance."""

from dataclasses import dataclass, field
from random import Random
from typing import Any


@dataclass(frozen=True)
class Scene:
    """`odds` and `deeds` replace those that were drawn; `stale` is the threshold in seconds, 0 for any. `eager`: the
    device begins again at once after a cancel, and asks again soon when it is refused. `sizes`: of its files.
    `contradicts`: it sends other bytes for the same range at once, wherever. `pinned`: its requests name the upload."""

    odds: dict[str, Any] = field(default_factory=dict)
    deeds: dict[str, float] = field(default_factory=dict)
    stale: float = 0.0
    eager: bool = False
    sizes: tuple[int, ...] = ()
    contradicts: bool = False
    pinned: bool = False
    replicas: tuple[int, ...] = (1, 2, 2, 3)  # of ingest


NONE = Scene()
_CALM = {
    "latency": 0.001, "hesitate": 0.0, "refused": 0.0, "unanswered": 0.0, "killed": 0.0, "paused": 0.0, "lost": 0.0,
    "delayed": 0.0, "page": 1000, "change_points": frozenset(),
}  # fmt: skip
_ANEW = {"all": 3.0, "cancel": 3.0, "zero": 0.5, "status": 0.5, "download": 0.5}
SCENES = (
    # Deletes of a file that take long, and a name that is used again as soon as it is free.
    Scene(
        _CALM | {"aims": frozenset({"delete_many files", "delete uploads"}), "aimed": 0.5, "slow": 0.3, "doubled": 0.8},
        _ANEW, eager=True, sizes=(3, 8),
    ),
    # A change of the record that was given up, and comes when the name is in use for something else.
    Scene(
        _CALM | {"aims": frozenset({"put uploads"}), "aimed": 0.4, "hesitations": (1.0, 1.9, 2.2, 14.0)},
        _ANEW, eager=True, sizes=(3, 8), pinned=True,
    ),
    # Chunks that are stored while their upload is parked by a slow closer, and devices that ask for it.
    Scene(
        _CALM | {
            "aims": frozenset({"put chunks", "put partials", "put uploads"}), "aimed": 0.3,
            "hesitations": (6.0, 12.0, 18.0),
        },
        {"next": 2.0, "random": 2.0, "status": 6.0, "idle": 4.0}, stale=5.0, sizes=(16, 20, 24),
    ),
    # An upload that goes on, or is cancelled, at the moment at which it becomes stale.
    Scene(
        _CALM | {
            "aims": frozenset({"put chunks", "put uploads"}), "aimed": 0.6, "hesitations": (0.5, 1.0, 1.5, 1.8),
        },
        {"next": 2.0, "idle": 3.0, "cancel": 2.0}, stale=5.0, sizes=(16, 20, 24),
    ),
    # Downloads, and repeated chunks, of what is deleted meanwhile and uploaded again with other bytes.
    Scene(
        _CALM | {
            "aims": frozenset({"list chunks", "get chunks", "get files", "stat files"}), "aimed": 0.3,
            "hesitations": (6.0, 12.0, 20.0),
        },
        {"all": 3.0, "next": 2.0, "cancel": 2.0, "zero": 4.0, "download": 4.0}, eager=True, sizes=(24,), pinned=True,
    ),
    # A chunk that is sent again when its file is complete, and the DELETE of that file.
    Scene(
        _CALM | {"aims": frozenset({"get files"}), "aimed": 0.6, "hesitations": (6.0, 12.0, 20.0)},
        {"all": 3.0, "zero": 4.0, "cancel": 3.0}, eager=True, sizes=(8, 24), pinned=True,
    ),
    # A device of two minds, through several replicas, whose chunks are stored late.
    Scene(
        _CALM | {
            "aims": frozenset({"put chunks"}), "aimed": 0.6, "unanswered": 0.02, "late": 0.06,
            "hesitations": (0.5, 1.0, 2.0, 3.0),
        },
        {"contradict": 5.0, "next": 2.0, "twice": 1.0, "random": 1.0, "idle": 1.0},
        sizes=(8, 12), contradicts=True, replicas=(1, 3),
    ),
)  # fmt: skip
WEIGHTS = (1, 1, 1, 2, 1, 1, 2)


def draw_scene(chance: Random) -> Scene:
    return chance.choices(SCENES, WEIGHTS)[0] if chance.random() < 0.6 else NONE
