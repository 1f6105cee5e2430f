"""A fresh bucket of every adapter, and what a test left in it."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from libs.common.storage import ObjectStore, list_all
from libs.common.storage._s3_client import Request, S3Client
from libs.common.storage._s3_sign import Signer
from libs.common.storage._s3_xml import Document
from libs.common.storage.filesystem import FilesystemStore
from libs.common.storage.metered import MeteredStore
from libs.common.storage.minio import MinioStore

UPLOADED = "files/vin-1/log.bin"  # the key of every multipart upload in the suite: MinIO lists uploads by exact key
REGION = "us-east-1"
SECRET = "never-tell-anybody"  # of the stores that are away


class Bucket(Protocol):
    def open(self) -> ObjectStore:
        """The bucket as one more process sees it."""
        ...

    def sibling(self) -> "Bucket":
        """Another bucket of the same store."""
        ...

    async def leftovers(self) -> list[str]:
        """Objects, multipart uploads and temporary files in it."""
        ...

    async def destroy(self) -> None: ...


@dataclass
class Directory:
    root: Path

    def open(self) -> ObjectStore:
        return FilesystemStore(self.root)

    def sibling(self) -> "Bucket":
        return Directory(self.root.with_name("sibling"))

    async def leftovers(self) -> list[str]:
        """Every file but the lock, and every directory but the store's own."""
        own = self.root / ".hiper"
        expected = {own, own / "lock", own / "meta", own / "multipart", own / "tmp"}
        return [str(path) for path in self.root.rglob("*") if path not in expected]

    async def destroy(self) -> None:
        pass  # tmp_path is pytest's


class MeteredDirectory(Directory):
    """Its calls are counted, which must change nothing."""

    def open(self) -> ObjectStore:
        return MeteredStore(super().open(), "test")


@dataclass
class S3Bucket:
    endpoint: str
    access_key: str
    secret_key: str
    name: str

    def open(self) -> ObjectStore:
        return MinioStore(
            endpoint=self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            bucket=self.name,
            region=REGION,
        )

    def sibling(self) -> "Bucket":
        return replace(self, name=new_name())

    def _client(self) -> S3Client:
        return S3Client(Signer(self.endpoint, self.access_key, self.secret_key, REGION), self.name)

    async def leftovers(self) -> list[str]:
        store, client = self.open(), self._client()
        answer = await client.send(Request(method="GET", query={"uploads": "", "prefix": UPLOADED}))
        uploads = [f"upload {upload_id}" for [upload_id] in Document(answer.body).records("Upload", "UploadId")]
        objects = [info.key for info in await list_all(store, "")]
        await store.close()
        await client.close()
        return objects + uploads

    async def destroy(self) -> None:
        client = self._client()
        await client.send(Request(method="DELETE"))
        await client.close()


def new_name() -> str:
    return f"contract-{uuid.uuid4().hex}"
