"""What was promised about one file, and whether the buckets and the answers keep to it.

A life of a file begins when its name is free and ends when a cancel is resolved. Within a life the oracle knows every
byte that was sent and every byte that was acknowledged; it reads the buckets directly, without the code under test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from libs.common.uploads.layout import (
    FileId,
    chunks_prefix,
    file_key,
    parse_chunk_key,
    parse_run_key,
    record_key,
    rejected_prefix,
)
from libs.common.uploads.outcomes import session_of
from libs.common.uploads.record import Record, parse
from libs.common.uploads.states import FileState
from libs.common.uploads.writing import Ack
from tests.simulation.bucket import Bucket, Stored

Content = dict[int, set[int]]  # position -> the bytes that stored objects have there


@dataclass
class Oracle:
    file: FileId
    temp: Bucket
    perm: Bucket
    honest: bool  # whether the device never contradicts itself
    violated: Callable[[str], None]
    right: str = ""  # SHA-256 in hex of what the device means to send
    life: int = 0
    cancelling: bool = False  # a cancel is on its way, and may take effect at any moment
    cancelled: bool = False  # it was answered
    rejected: bool = False  # the bytes of this life were moved aside
    kept_aside: bool = False  # rejected bytes may be there, until a cancel
    sizes: set[int] = field(default_factory=set)  # that the device asked for
    sent: dict[int, set[int]] = field(default_factory=dict)
    acked: dict[int, int] = field(default_factory=dict)
    total: int | None = None  # of what was acknowledged
    told: int = 0  # the greatest next_expected_byte of an acknowledgement
    seen: int = 0  # and of a status, which shows chunks too of which the replica that stores them has no answer yet
    declared: set[str] = field(default_factory=set)
    # Declared for a session, and acknowledged while bytes were missing.
    binding: set[tuple[str, str]] = field(default_factory=set)

    # -- what devices do

    def send(self, start: int, data: bytes, total: int, declared: str) -> None:
        self.sizes.add(total)
        for at, byte in enumerate(data, start):
            self.sent.setdefault(at, set()).add(byte)
        if declared:
            self.declared.add(declared)

    def new_life(self, *, by_cancel: bool) -> None:
        self.kept_aside = not by_cancel
        self.life += 1
        self.cancelling = self.cancelled = self.rejected = False
        self.sent, self.acked, self.sizes, self.declared, self.binding = {}, {}, set(), set(), set()
        self.told, self.seen, self.total = 0, 0, None

    # -- what they are answered

    def acknowledged(self, life: int, start: int, data: bytes, declared: str, ack: Ack, floor: int) -> None:
        """`floor`: what the device had been told before it sent the chunk."""
        total = ack.total_size
        self._expect(life == self.life and not self.cancelled, "acknowledged a chunk of an upload that was cancelled")
        if self.cancelling:
            return
        empty_rejected = self.total == 0 and self.may_reject  # of that no byte tells
        same = self.total in (None, total) or empty_rejected
        self._expect(same, f"acknowledged for {total} bytes and for {self.total}")
        self.total = total
        for at, byte in enumerate(data, start):
            same = self.acked.get(at, byte) == byte or not self._certain(at)
            self._expect(same, f"acknowledged two values for byte {at}")
            self.acked.setdefault(at, byte)
        self._offset(ack.offset, 0)
        self.told = max(self.told, ack.offset)
        if declared and not ack.complete:
            self.binding.add((ack.session, declared))
        self.look(f"bytes {start} to {start + len(data)} were acknowledged")

    def shown(self, life: int, cancelled: bool, state: FileState | None, floor: int, had: Iterable[int]) -> None:
        """A status that was asked for in a life (after its end, if `cancelled`), with what was acknowledged before."""
        if life != self.life or (self.cancelling and not cancelled):
            return
        if state is None:
            self._expect(cancelled or self.rejected or not list(had) or self.may_reject, "the status shows no file")
            return
        self._expect(not cancelled, f"the file came back after its cancel was answered: {state}")
        if self.rejected or self.may_reject:
            return
        self._offset(state.offset, floor)
        self.seen = max(self.seen, state.offset)
        shown = {at for run in state.durable for at in range(*run)}
        self._expect(shown.issuperset(had), f"the status misses bytes: {sorted(set(had) - shown)}")
        if not self.sizes or state.total_size in self.sizes:
            there = self.content().keys()
            self._expect(shown <= there, f"the status shows more than is there: {shown - there}")

    def downloaded(self, life: int, data: bytes) -> None:
        if life != self.life or self.cancelling:
            return
        for at, byte in enumerate(data):
            self._expect(byte in self.sent.get(at, ()), f"byte {at} of a download was never sent")
            self._expect(self._is_acked(at, byte), f"byte {at} of a download is not what was acknowledged")

    def cancel_answered(self, life: int) -> None:
        if life == self.life and self.cancelling:
            self.cancelled = True

    # -- what lies in the buckets

    @property
    def may_reject(self) -> bool:
        """Whether the bytes may be other than those that were declared, or contradict each other."""
        wrong = bool(self.declared and (not self.honest or self.declared != {self.right}))
        return wrong or any(len(values) > 1 for values in self.sent.values())

    def changed(self, key: str) -> None:
        """An object came or went."""
        if key in (file_key(self.file), record_key(self.file)) and (done := self.counting_file()):
            self._completed(done)
        if not key.startswith("chunks/") or key not in self.temp.objects:
            self.look(key)

    def look(self, why: str) -> None:
        """Acknowledged bytes are readable and unchanged."""
        if self.cancelling or not self.acked or self.total is None:
            return
        there = self.content()
        if all(at in there and (byte in there[at] or not self._certain(at)) for at, byte in self.acked.items()):
            return
        aside = {key for stored in self._under(self.perm, rejected_prefix(self.file)) for key in self._places(stored)}
        if self.may_reject and self.acked.keys() <= aside:
            self.rejected = True
            self.acked, self.told, self.seen, self.total = {}, 0, 0, None
            return
        wrong = {at: (byte, there.get(at)) for at, byte in self.acked.items() if byte not in there.get(at, ())}
        self._expect(False, f"acknowledged bytes are gone or changed (acknowledged, there): {wrong}, after {why}")

    def _places(self, stored: Stored) -> range:
        start = parse_run_key(stored.info.key).extent.start
        return range(start, start + len(stored.data))

    def _certain(self, at: int) -> bool:
        """Whether the device sent one value for a byte: of several any may be kept, or all be rejected."""
        return len(self.sent.get(at, ())) <= 1

    def _is_acked(self, at: int, byte: int) -> bool:
        return self.acked.get(at, byte) == byte or not self._certain(at)

    def counting_file(self) -> Stored | None:
        """The file in permanent storage, if the record does not say that it is none."""
        record, done = self.record(), self.perm.objects.get(file_key(self.file))
        if not done or record is None or record.state == "opening":
            return done
        return done if record.state == "closed" and record.file == session_of(done.info) else None

    def content(self) -> Content:
        """Every byte that is durable of the upload in progress, or of the complete file."""
        record, there = self.record(), Content()
        if done := self.counting_file():
            return {at: {byte} for at, byte in enumerate(done.data)}
        if not record or record.state != "open":
            return there
        for stored in self._under(self.temp, chunks_prefix(self.file, record.session)):
            for at, byte in enumerate(stored.data, parse_chunk_key(stored.info.key).extent.start):
                there.setdefault(at, set()).add(byte)
        for key, extent in record.run_extents.items():
            if key in self.perm.objects:
                for at, byte in enumerate(self.perm.objects[key].data, extent.start):
                    there.setdefault(at, set()).add(byte)
        return there

    def record(self) -> Record | None:
        stored = self.temp.objects.get(record_key(self.file))
        return parse("", stored.data) if stored else None

    def _under(self, bucket: Bucket, prefix: str) -> list[Stored]:
        return [stored for key, stored in bucket.objects.items() if key.startswith(prefix)]

    def _completed(self, done: Stored) -> None:
        if not self.cancelling:  # else an assembler was on its way, and the closing deletes what it made
            self.judge_file(done)

    def judge_file(self, done: Stored) -> None:
        """The complete file is what was sent, acknowledged and declared."""
        self._expect(len(done.data) in self.sizes, f"a file of {len(done.data)} bytes appears, which nobody sent")
        for at, byte in enumerate(done.data):
            self._expect(byte in self.sent.get(at, ()), f"byte {at} of the file was never sent")
            self._expect(self._is_acked(at, byte), f"byte {at} of the file is not what was acknowledged")
        here = {digest for session, digest in self.binding if session == done.info.metadata.get("session")}
        right = here <= {sha256(done.data).hexdigest()}
        self._expect(right, "the file appears although its declared digest is another")

    def _offset(self, offset: int, floor: int) -> None:
        forward = offset >= floor or self.rejected or self.may_reject
        self._expect(forward, f"next_expected_byte goes back: {offset} < {floor}")
        if self.total is not None and not self.rejected:
            there = self.content()
            gap = next((at for at in range(offset) if at not in there), None)
            self._expect(gap is None, f"next_expected_byte is {offset}, but byte {gap} is not durable")

    def _expect(self, right: bool, what: str) -> None:
        if not right:
            self.violated(f"{self.file.filename}: {what}")
