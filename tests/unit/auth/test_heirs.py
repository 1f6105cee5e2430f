"""A device does not read what an earlier device of its id left."""

import pytest

from libs.common.files.extents import Extent
from libs.common.storage import Buckets, StoreRefused
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import (
    FileId,
    chunk_key,
    file_key,
    new_session,
    new_version,
    record_key,
    rejected_key,
    run_key,
)
from libs.common.uploads.record import Record
from tests.unit.auth.talk import AuthApi

FILE = FileId("car-7", "drive.bin")
SESSION = new_session()
BYTES = Extent(0, 5)
COMPLETE = (file_key(FILE), b"bytes")


def record(**fields: object) -> tuple[str, bytes]:
    """The record of the file, as an object."""
    return record_key(FILE), Record(version=new_version(), **fields).model_dump_json().encode()


LEFT = {
    "a complete file": ("perm", COMPLETE),
    "an open upload": ("temp", record(state="open", session=SESSION, total_size=5)),
    "a parked upload": (
        "temp",
        record(state="open", session=SESSION, runs=(run_key(FILE, SESSION, BYTES),), parked_at=1),
    ),
    "a rejected upload": ("temp", record(state="closed", rejected="It lied.", kept=(SESSION,))),
}
NOT_LEFT = {
    "a chunk of an upload that is over": ("temp", (chunk_key(FILE, SESSION, 0, BYTES, "0" * 64), b"bytes")),
    "rejected bytes that no record names": ("perm", (rejected_key(FILE, SESSION, BYTES), b"bytes")),
    "the record of an upload that was cancelled": ("temp", record(state="closed", ended=SESSION)),
    "a file of another device": ("perm", (file_key(FileId("car-70", "drive.bin")), b"bytes")),
    "a file of another device in a folder": ("perm", (file_key(FileId("car", "7/drive.bin")), b"bytes")),
}


@pytest.mark.parametrize(("bucket", "left"), LEFT.values(), ids=LEFT)
async def test_an_id_that_has_something_cannot_be_registered(
    api: AuthApi, files: Buckets, bucket: str, left: tuple[str, bytes]
) -> None:
    await getattr(files, bucket).put(*left)
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:hiper:problem:device-has-files"
    assert "hiper device purge car-7" in answer.json()["detail"]
    assert (await api.admin("GET", "/devices/car-7")).status_code == 404
    await getattr(files, bucket).delete_many([left[0]])
    await api.register("car-7")


@pytest.mark.parametrize(("bucket", "left"), NOT_LEFT.values(), ids=NOT_LEFT)
async def test_an_id_is_free_of_what_others_have_and_of_what_no_device_can_read(
    api: AuthApi, files: Buckets, bucket: str, left: tuple[str, bytes]
) -> None:
    await getattr(files, bucket).put(*left)
    await api.register("car-7")


async def test_an_id_is_free_once_its_file_is_deleted_even_before_the_store_has_done_it(
    api: AuthApi, files: Buckets
) -> None:
    await files.perm.put(*COMPLETE)
    await files.temp.put(*record(state="closed", ended=SESSION))
    await api.register("car-7")


async def test_a_device_that_is_there_keeps_its_files_and_is_changed_as_before(api: AuthApi, files: Buckets) -> None:
    await api.register("car-7")
    await files.perm.put(*COMPLETE)
    assert (await api.admin("POST", "/devices/car-7/secret")).status_code == 200
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.json()["type"] == "urn:hiper:problem:device-exists"


async def test_without_the_right_to_look_no_device_is_registered_and_the_answer_says_what_is_missing(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = FilesystemStore.list

    async def denied(self: FilesystemStore, prefix: str, **more: object) -> object:
        if prefix.startswith(("files/", "uploads/")):
            raise StoreRefused("AccessDenied")
        return await listed(self, prefix, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FilesystemStore, "list", denied)
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.status_code == 503
    assert "deploy/policies/auth.json" in answer.json()["detail"]
