"""A device does not read what an earlier device of its id left."""

import pytest

from libs.common.layout import FileId, closing_fact, fact_key, file_key, partials_prefix, rejected_prefix
from libs.common.store import Buckets, StoreRefused
from libs.common.store.filesystem import FilesystemStore
from tests.unit.auth.talk import AuthApi

FILE = FileId("car-7", "drive.bin")
SESSION = "5-0123456789abcdef"
LEFT = {
    "a complete file": ("perm", file_key(FILE)),
    "a partial file": ("perm", f"{partials_prefix(FILE, SESSION)}0000000000000000-3"),
    "a rejected file": ("perm", f"{rejected_prefix(FILE, SESSION)}0000000000000000-5"),
    "an open upload": ("temp", fact_key(FILE, SESSION, "open")),
    "an upload that is being cancelled": ("temp", fact_key(FILE, SESSION, closing_fact("cancel"))),
}


@pytest.mark.parametrize(("bucket", "key"), LEFT.values(), ids=LEFT)
async def test_an_id_that_has_something_cannot_be_registered(
    api: AuthApi, files: Buckets, bucket: str, key: str
) -> None:
    await getattr(files, bucket).put(key, b"bytes")
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:hiper:problem:device-has-files"
    assert "hiper device purge car-7" in answer.json()["detail"]
    assert (await api.admin("GET", "/devices/car-7")).status_code == 404
    await getattr(files, bucket).delete_many([key])
    await api.register("car-7")


async def test_what_others_have_and_what_came_late_is_not_in_the_way(api: AuthApi, files: Buckets) -> None:
    await files.perm.put(file_key(FileId("car-70", "drive.bin")), b"bytes")
    await files.perm.put(file_key(FileId("car", "7")), b"bytes")
    await files.temp.put(fact_key(FILE, SESSION, "writer/abcd0123"), b"")
    await api.register("car-7")


async def test_a_device_that_is_there_keeps_its_files_and_is_changed_as_before(api: AuthApi, files: Buckets) -> None:
    await api.register("car-7")
    await files.perm.put(file_key(FILE), b"bytes")
    assert (await api.admin("POST", "/devices/car-7/secret")).status_code == 200
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.json()["type"] == "urn:hiper:problem:device-exists"


async def test_without_the_right_to_look_no_device_is_registered_and_the_answer_says_what_is_missing(
    api: AuthApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = FilesystemStore.list

    async def denied(self: FilesystemStore, prefix: str, **more: object) -> object:
        if prefix.startswith(("files/", "sessions/")):
            raise StoreRefused("AccessDenied")
        return await listed(self, prefix, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FilesystemStore, "list", denied)
    answer = await api.admin("POST", "/devices", json={"device_id": "car-7"})
    assert answer.status_code == 503
    assert "deploy/policies/auth.json" in answer.json()["detail"]
