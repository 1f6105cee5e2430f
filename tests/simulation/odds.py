"""What a seed chooses before its history begins (swarm testing: every seed has other odds), and at every call."""

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal, NamedTuple

from libs.common.storage import LEASE
from tests.simulation.scenes import Scene

HESITATIONS = tuple(LEASE * times for times in (0.5, 0.95, 1.2, 3.0, 10.0))  # seconds
Fate = Literal["done", "refused", "unanswered", "late", "killed before", "killed after"]
# Where one process looks and another writes: a seed aims at some of these.
AIMS = (
    "put uploads", "put chunks", "put files", "put partials", "put rejected", "put_part files",
    "complete_multipart files", "complete_multipart partials", "create_multipart files", "abort_multipart files",
    "delete_many chunks",
    "delete_many files", "delete_many partials", "delete uploads", "fetch uploads", "list chunks", "stat files",
    "get chunks", "get files", "get partials",
)  # fmt: skip
# Names that are used again are where a late write does harm.
SHARED = ("files", "uploads")
WEIGHTS = tuple(4 if aim.endswith(SHARED) and not aim.startswith(("stat", "list", "get")) else 1 for aim in AIMS)


class Plan(NamedTuple):
    """What happens to one call: seconds on the way there and back, what becomes of it, how long the process or only
    this call is held up first, seconds until an effect that comes late, and whether the store purges an open multipart
    upload just before."""

    there: float
    back: float
    fate: Fate
    pause: float
    held: float
    late: float
    purge: bool
    slow: float = 0.0  # of DELAY, from accepting the request to its effect
    twice: bool = False  # the HTTP client sends it again, after it took effect


@dataclass
class Odds:
    """The odds of one history."""

    chance: Random
    latency: float = 0.01  # seconds, each way
    hesitate: float = 0.0
    aims: frozenset[str] = frozenset()
    aimed: float = 0.0
    hesitations: tuple[float, ...] = HESITATIONS
    refused: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    killed: float = 0.0
    paused: float = 0.0
    purge: float = 0.0
    slow: float = 0.0
    twice: float = 0.0
    progress: bool = False  # whether the assembler hears of chunks that fill nothing, as from an older ingest
    lost: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    longest_delay: float = 100.0
    page: int = 1000
    change_points: frozenset[int] = frozenset()
    quiet: bool = False
    calls: int = 0
    met: Counter[str] = field(default_factory=Counter)  # how often what happened, for the table of `make soak`
    ranks: dict[str, int] = field(default_factory=dict)

    @classmethod
    def draw(cls, chance: Random, scene: Scene, *, faults: bool) -> "Odds":
        pick = chance.choice
        if not faults:
            return cls(chance, latency=pick((0.001, 0.01, 0.05)))
        pct = chance.random() < 0.3
        drawn = cls(
            chance,
            latency=pick((0.001, 0.01, 0.03, 0.1)),
            hesitate=pick((0.0, 0.01, 0.03, 0.1)),
            aims=frozenset(chance.choices(AIMS, WEIGHTS, k=pick((1, 1, 2, 4)))) | pick((set(), set(), {"put chunks"})),
            aimed=pick((0.2, 0.5, 0.9)),
            refused=pick((0.0, 0.0, 0.005, 0.03)),
            unanswered=pick((0.0, 0.0, 0.005, 0.03)),
            late=pick((0.0, 0.0, 0.01, 0.05)),
            killed=pick((0.0, 0.0, 0.003, 0.01)),
            paused=pick((0.0, 0.0, 0.003, 0.01)),
            purge=pick((0.0, 0.0, 0.01, 0.05)),
            slow=pick((0.0, 0.0, 0.02, 0.1)),
            twice=pick((0.0, 0.0, 0.01, 0.05)),
            progress=pick((False, False, True)),
            lost=pick((0.0, 0.1, 0.5, 1.0)),
            doubled=pick((0.0, 0.3, 0.8)),
            delayed=pick((0.0, 0.1, 0.5)),
            longest_delay=pick((2.0, 20.0, 10_000.0)),
            page=pick((1000, 1000, 1000, 3)),
            change_points=frozenset(chance.sample(range(800), 4)) if pct else frozenset(),
        )
        return replace(drawn, **scene.odds)

    def plan(self, process: str, place: str) -> Plan:
        """What happens to a call at a place, such as `put chunks`."""
        self.calls += 1
        random, pace = self.chance.random, self.latency * self._slowness(process)
        there, back = pace * random(), pace * random()
        if self.quiet:
            return Plan(there, back, "done", 0.0, 0.0, 0.0, False)
        pause = held = 0.0
        aimed = self.aimed if self.calls < _SOON else min(self.aimed, 0.02)
        if random() < (aimed if place in self.aims else self.hesitate * place.startswith(_WRITES)):
            length = self.chance.choice(self.hesitations) * (0.9 + 0.2 * random())
            pause, held = (length, 0.0) if random() < 0.5 else (0.0, length)
        elif random() < self.paused or self.calls in self.change_points:
            pause = self.chance.choice(self.hesitations)
        purge = random() < self.purge * (5 if place.startswith(_OF_UPLOADS) else 1)
        fate = self._fate(place)
        self.met[fate] += 1
        self.met["held up"] += bool(pause or held)
        writes = place.startswith(_WRITES)
        slow = random() if writes and (fate != "done" or random() < self.slow) else 0.0
        twice = writes and random() < self.twice
        return Plan(there, back, fate, pause, held, random(), purge, slow, twice)

    def _fate(self, place: str) -> Fate:
        at = self.chance.random()
        for odds, fate in (
            (self.refused, "refused"),
            (self.unanswered, "unanswered"),
            (self.late, "late"),
            (self.killed, "killed before"),
            (self.killed, "killed after"),
        ):
            if at < odds:
                if fate == "late" and not place.startswith(_WRITES):
                    return "refused"
                return fate  # type: ignore[return-value]
            at -= odds
        return "done"

    def _slowness(self, process: str) -> float:
        """Priorities as in PCT: who has a low one is much slower than the rest, until they change."""
        if not self.change_points:
            return 1.0
        if process not in self.ranks or self.calls in self.change_points:
            self.ranks[process] = self.chance.randrange(4)
        return (0.01, 0.3, 1.0, 3.0)[self.ranks[process]]


_SOON = 3000  # calls, after which devices are to come to an end
_WRITES = ("put", "delete", "complete", "create", "abort")
_OF_UPLOADS = ("put_part", "list_parts", "complete")
