"""The tables of the fleet: how they are written, and what a damaged one does."""

import gzip
import json

import pytest

from libs.common.fleet.rows import DeviceRow
from libs.common.fleet.store import Found, load, save, save_newer
from libs.common.fleet.tables import DEVICES, UPLOADS, Table, UnreadableTable, decode, encode
from libs.common.storage import ConditionFailed
from libs.common.storage.filesystem import FilesystemStore
from tests.unit.fleet.rows import NOW, upload

ROWS = [
    upload("a b/ü\u2028.bin", labels={"drive": "0417"}, device_class="truck", rate=12.5),
    upload("z.bin", total_size=None, parked=True),
]


def altered(**head: object) -> bytes:
    """A table whose header says something else."""
    first, *rows = gzip.decompress(encode(UPLOADS, Table(NOW, ROWS))).decode().split("\n")
    return gzip.compress("\n".join([json.dumps(json.loads(first) | head), *rows]).encode(), mtime=0)


class TestTheFormat:
    def test_a_table_comes_back_as_it_was(self) -> None:
        table = Table(NOW, ROWS, NOW - 60)
        assert decode(UPLOADS, encode(UPLOADS, table)) == table

    def test_it_is_lines_of_json_that_a_person_reads_with_zcat(self) -> None:
        head, first, *_ = gzip.decompress(encode(UPLOADS, Table(NOW, ROWS))).decode().split("\n")
        assert json.loads(head)["columns"][:2] == ["owner", "filename"]
        assert json.loads(first)[:2] == ["device-1", "a b/ü\u2028.bin"]

    def test_columns_that_a_reader_does_not_know_are_ignored_and_missing_ones_have_their_default(self) -> None:
        head = {"format": "hiper-fleet", "version": 1, "table": "devices", "at": NOW, "counted_at": 0, "rows": 1}
        lines = [json.dumps({**head, "columns": ["shoe_size", "last_seen", "device_id"]}), '[46,5.0,"car-1"]']
        assert decode(DEVICES, gzip.compress("\n".join(lines).encode())).rows == [DeviceRow("car-1", 5.0)]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no gzip",
            gzip.compress(b"", mtime=0),
            gzip.compress(b"[]", mtime=0),
            gzip.compress(b"[" * 100_000, mtime=0),
            encode(UPLOADS, Table(NOW, ROWS))[:-9],
            encode(DEVICES, Table(NOW, [DeviceRow("car-1")])),
            altered(version=2),
            altered(format="other"),
            altered(rows=3),
            altered(rows=1),
            altered(columns=[]),
            altered(columns=["filename"]),
            altered(at="soon"),
            altered(columns=["session", "parked", "owner"]),
        ],
    )
    def test_what_is_no_table_is_refused(self, data: bytes) -> None:
        with pytest.raises(UnreadableTable):
            decode(UPLOADS, data)


class TestTheObject:
    async def test_a_reader_that_knows_the_newest_table_gets_it_back(self, perm: FilesystemStore) -> None:
        assert await load(perm, UPLOADS) is None
        await save(perm, UPLOADS, Table(NOW, ROWS), replaces="")
        found = await load(perm, UPLOADS)
        assert found
        assert found.table == Table(NOW, ROWS)
        again = await load(perm, UPLOADS, found)
        assert again
        assert again.table is found.table

    async def test_of_two_janitors_the_newer_look_wins(self, perm: FilesystemStore) -> None:
        assert await save_newer(perm, UPLOADS, Table(NOW, ROWS))
        assert not await save_newer(perm, UPLOADS, Table(NOW - 1, []))
        assert not await save_newer(perm, UPLOADS, Table(NOW, []))
        assert await save_newer(perm, UPLOADS, Table(NOW + 1, ROWS[:1]))
        found = await load(perm, UPLOADS)
        assert found
        assert found.table == Table(NOW + 1, ROWS[:1])

    async def test_a_table_is_put_only_in_place_of_the_one_that_was_read(self, perm: FilesystemStore) -> None:
        etag = await save(perm, DEVICES, Table(NOW, [DeviceRow("car-1")]), replaces="")
        await save(perm, DEVICES, Table(NOW, [DeviceRow("car-2")]), replaces=etag)
        with pytest.raises(ConditionFailed):
            await save(perm, DEVICES, Table(NOW, [DeviceRow("car-3")]), replaces=etag)

    async def test_a_damaged_table_reads_as_none_and_the_next_one_replaces_it(self, perm: FilesystemStore) -> None:
        await perm.put(UPLOADS.key, b"damaged")
        found = await load(perm, UPLOADS)
        assert found == Found(found.etag if found else "", None)
        assert await save_newer(perm, UPLOADS, Table(NOW, ROWS))


def test_of_two_rows_of_a_device_the_later_news_count() -> None:
    first = DeviceRow("car-1", 10.0, 5.0, "quota-exceeded", "truck", 3, 100)
    second = DeviceRow("car-1", 20.0, 4.0, "busy", "car", 9, 900)
    assert first.merged(second) == DeviceRow("car-1", 20.0, 5.0, "quota-exceeded", "car", 3, 100)
    assert second.merged(first) == DeviceRow("car-1", 20.0, 5.0, "quota-exceeded", "car", 9, 900)
