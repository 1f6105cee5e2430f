"""How much an owner has, derived from listings, and whether one more upload may begin."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from libs.common.clock import Clock
from libs.common.files.names import FLEET
from libs.common.problems import Kind, Problem, later
from libs.common.security.allowance import Allowance
from libs.common.storage import Buckets
from libs.common.storage.line import Line
from libs.common.uploads.layout import FileId, files_prefix, parse_file_key, parse_run_key, rejected_root
from libs.common.uploads.ours import walk_ours
from libs.common.uploads.owned import records_of
from libs.common.uploads.record import Record
from libs.common.uploads.records import Records
from libs.common.uploads.stock import take_stock

FRESH = 5.0  # seconds for which a listing counts
RECENT = 1.0  # seconds; an older listing refuses nobody
_SHOWN = 5  # files that a problem names
_OWNERS = 10_000  # whose listings are kept


@dataclass
class Usage:
    """What an owner has. `sizes`: by name, the whole size in bytes of each file, however much of it is there;
    `open`: names that are being uploaded; `rejected`: by name, bytes that are kept of rejected uploads."""

    seen_at: float
    sizes: dict[str, int] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def used(self) -> int:
        return sum(self.sizes.values()) + self.rejected.total()

    @property
    def names(self) -> set[str]:
        return self.sizes.keys() | self.rejected.keys()

    def begin(self, name: str, total_size: int) -> None:
        if name not in self.sizes:
            self.open.add(name)
        self.sizes[name] = max(total_size, self.sizes.get(name, 0))

    def refusal(self, name: str, total_size: int, allowance: Allowance) -> Problem | None:
        """Why an upload may not begin, or not grow while its length is unknown. One that has begun may go on, a partial
        file be resumed, a complete one be repeated."""
        begun, more = name in self.sizes, total_size - self.sizes.get(name, 0)
        most, room, count = allowance.open_uploads, allowance.stored_bytes, allowance.stored_files
        if begun and more <= 0:
            return None
        if not begun and most and len(self.open) >= most:
            names = sorted(self.open)[:_SHOWN]
            detail = f"{len(self.open)} uploads are open, of {most} allowed. Finish or cancel one first: {names}"
            return Problem(Kind.TOO_MANY_UPLOADS, detail, headers=later(15), open=names, limit=most)
        if not begun and count and len(self.names) >= count:
            detail = f"{len(self.names)} of {count} files are there. Make room with DELETE /files/{{filename}}."
            return Problem(Kind.QUOTA_EXCEEDED, detail, files_stored=len(self.names), files_allowed=count)
        if room and self.used + more > room:
            held = (Counter(self.sizes) + self.rejected).most_common(_SHOWN)
            largest = [name for name, _ in held]
            files = [{"filename": name, "size": size} for name, size in held]
            detail = (
                f"{self.used} of {room} bytes are in use or reserved by open uploads; this file needs {more} more. "
                f"Make room with DELETE /files/{{filename}}. The largest files: {largest}"
            )
            return Problem(Kind.QUOTA_EXCEEDED, detail, used=self.used, allowed=room, needed=more, files=files)
        return None


@dataclass
class _Owner:
    line: Line
    usage: Usage | None = None


class Quotas:
    """Admits uploads. What it counts is a listing of a few seconds ago and what began through this process since."""

    def __init__(self, buckets: Buckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._records = Records(buckets, clock)
        self._owners: OrderedDict[str, _Owner] = OrderedDict()

    async def admit(self, file: FileId, total_size: int, allowance: Allowance) -> None:
        """Reserve what an upload needs, unless it has begun already. Raises QUOTA_EXCEEDED and TOO_MANY_UPLOADS, and
        StoreUnavailable. What is published to the fleet counts for nobody."""
        if file.owner == FLEET or not (allowance.open_uploads or allowance.stored_bytes or allowance.stored_files):
            return
        owner = self._owner(file.owner)
        async with owner.line.turn():
            usage = await self._usage(file.owner, FRESH)
            if usage.refusal(file.filename, total_size, allowance):
                usage = await self._usage(file.owner, RECENT)
            if refusal := usage.refusal(file.filename, total_size, allowance):
                if file.filename not in usage.names and await self._has_begun(file):
                    return  # through another replica, a moment ago
                raise refusal
            usage.begin(file.filename, total_size)

    async def _has_begun(self, file: FileId) -> bool:
        """Whether it is open, parked or complete."""
        seen = await self._records.look(file)
        if seen.record.state == "open":
            return True
        return await self._records.file(file) is not None

    def forget(self, owner: str) -> None:
        """Something of the owner was deleted: list anew before the next upload."""
        self._owner(owner).usage = None

    def _owner(self, name: str) -> _Owner:
        owner = self._owners.get(name) or self._owners.setdefault(name, _Owner(Line(self._clock)))
        self._owners.move_to_end(name)
        if len(self._owners) > _OWNERS and not next(iter(self._owners.values())).line.busy:
            self._owners.popitem(last=False)
        return owner

    async def _usage(self, name: str, age: float) -> Usage:
        """What an owner has, not older than `age` seconds."""
        owner = self._owner(name)
        if owner.usage is None or self._clock.monotonic() - owner.usage.seen_at > age:
            owner.usage = await self._list(name)
        return owner.usage

    async def _size(self, file: FileId, record: Record) -> int:
        """The total size of an upload; while that is unknown, the end of what is stored."""
        if record.total_size is not None:
            return record.total_size
        stock = await take_stock(self._buckets, file, record)
        return max((run.end for run in stock.durable), default=0)

    async def _list(self, owner: str) -> Usage:
        usage = Usage(self._clock.monotonic())
        temp, perm = self._buckets.temp, self._buckets.perm
        deleted = set[str]()
        async for owned in records_of(temp, owner):
            if owned.record.state == "open":
                file = FileId(owner, owned.filename)
                usage.sizes[file.filename] = await self._size(file, owned.record)
                if owned.record.parked_at is None:
                    usage.open.add(owned.filename)
            elif owned.record.state == "closed" and not owned.record.file:
                deleted.add(owned.filename)
        async for file, info in walk_ours(perm, files_prefix(owner), parse_file_key):
            if file.filename not in deleted:
                usage.sizes.setdefault(file.filename, info.size)
        async for run, info in walk_ours(perm, rejected_root(owner), parse_run_key):
            usage.rejected[run.file.filename] += info.size
        return usage
