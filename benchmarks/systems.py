"""The systems that are compared, as the load generator speaks to them: upload a file, wait until it is complete."""

import base64
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from benchmarks.servers import HOST, Deployment, Program, Store
from benchmarks.wire import Connection, expect
from libs.common.uploads.layout import FileId, file_key

POLL = 0.02  # seconds between looks whether a file is complete
BATCH = 100  # keys deleted at a time: of many, a busy store does not answer in time
PATIENCE = 120.0  # seconds until it must be


@dataclass(frozen=True)
class File:
    """One file of a load: `chunks` are what is sent in one request each."""

    device: str
    name: str
    chunks: Sequence[memoryview]

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks))


class Peer(Protocol):
    """A device's connection to one system. It is used by one thread."""

    def upload(self, file: File) -> None:
        """Send every chunk, one after the other; returns when the last is acknowledged."""
        ...

    def finish(self, file: File) -> None:
        """Wait until the file is complete in permanent storage."""
        ...

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        """Get bytes [start, end), or all; how many came."""
        ...


class System(Protocol):
    name: str
    programs: list[Program]

    def peer(self, device: str) -> Peer: ...

    def clean(self) -> None:
        """Remove what was uploaded."""
        ...


@dataclass
class Nothing:
    """The null server."""

    program: Program
    name: str = "null server"
    programs: list[Program] = field(default_factory=list)

    def peer(self, device: str) -> Peer:
        return _Plain(Connection(HOST, self.program.port), lambda key: f"/{key}")

    def clean(self) -> None:
        pass


@dataclass
class Direct:
    """MinIO itself: every chunk one PUT of one object, presigned before. No resuming, no file in the end."""

    store: Store
    bucket: str = "direct"
    name: str = "direct PUT"
    programs: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        make_bucket(self.store, self.bucket)
        self.programs = [self.store.program]

    def peer(self, device: str) -> Peer:
        return _Plain(Connection(HOST, self.store.port), lambda key: self.store.target("PUT", f"/{self.bucket}/{key}"))

    def clean(self) -> None:
        empty_bucket(self.store, self.bucket)


class _Plain:
    def __init__(self, connection: Connection, target: Callable[[str], str]) -> None:
        self._connection = connection
        self._target = target

    def upload(self, file: File) -> None:
        for n, chunk in enumerate(file.chunks):
            target = self._target(f"{file.device}/{file.name}/{n}")
            expect(self._connection.ask("PUT", target, b"", chunk), 200)

    def finish(self, file: File) -> None:
        pass

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        raise NotImplementedError


@dataclass
class Disk:
    """The disk itself: every chunk one file, written, synced and renamed. What it costs that a chunk is durable."""

    directory: Path
    name: str = "durable files"
    programs: list[Program] = field(default_factory=list)

    def peer(self, device: str) -> Peer:
        return _DiskPeer(self.directory)

    def clean(self) -> None:
        _empty_directory(self.directory)


class _DiskPeer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def upload(self, file: File) -> None:
        folder = self._directory / file.device / file.name
        folder.mkdir(parents=True)
        for n, chunk in enumerate(file.chunks):
            with (folder / f"{n}.new").open("wb") as new:
                new.write(chunk)
                os.fsync(new.fileno())
            (folder / f"{n}.new").rename(folder / str(n))

    def finish(self, file: File) -> None:
        pass

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        raise NotImplementedError


@dataclass
class Tusd:
    """tusd: create, then PATCH chunk by chunk; the last answer comes when the file is complete."""

    program: Program
    store: Store | None
    bucket: str = ""
    files: Path = Path()
    name: str = "tusd"
    programs: list[Program] = field(default_factory=list)
    locations: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.programs = [self.program, *([self.store.program] if self.store else [])]

    def peer(self, device: str) -> Peer:
        return _TusdPeer(self, Connection(HOST, self.program.port))

    def clean(self) -> None:
        self.locations.clear()
        if self.store:
            empty_bucket(self.store, self.bucket)
        else:
            _empty_directory(self.files)


class _TusdPeer:
    def __init__(self, system: Tusd, connection: Connection) -> None:
        self._system = system
        self._connection = connection

    def upload(self, file: File) -> None:
        name = base64.b64encode(file.name.encode())
        fields = b"Tus-Resumable: 1.0.0\r\nUpload-Length: %d\r\nUpload-Metadata: filename %s\r\n" % (file.size, name)
        created = expect(self._connection.ask("POST", "/files/", fields), 201)
        target = "/" + created.field("Location").split("/", 3)[3]
        self._system.locations[f"{file.device}/{file.name}"] = target
        at = 0
        for chunk in file.chunks:
            fields = (
                b"Tus-Resumable: 1.0.0\r\nUpload-Offset: %d\r\nContent-Type: application/offset+octet-stream\r\n" % at
            )
            expect(self._connection.ask("PATCH", target, fields, chunk), 204)
            at += len(chunk)

    def finish(self, file: File) -> None:
        pass

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        target = self._system.locations[f"{file.device}/{file.name}"]
        return fetch(self._connection, target, b"", start, end)


@dataclass
class Hiper:
    """HiPER-Automotive, all services running. `alternating`: each chunk of a device goes to the next replica of ingest,
    as behind a load balancer without affinity; else a device keeps to one."""

    deployment: Deployment
    name: str = "hiper"
    alternating: bool = False
    programs: list[Program] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    connect: type[Connection] = Connection

    def __post_init__(self) -> None:
        store = self.deployment.store
        self.programs = [*self.deployment.programs, *([store.program] if store else [])]

    def peer(self, device: str) -> Peer:
        if device not in self.tokens:
            self.tokens[device] = register(self.deployment, device)
        apis = self.deployment.apis
        first = list(self.tokens).index(device) % len(apis)
        ports = [*apis[first:], *apis[:first]] if self.alternating else [apis[first]]
        return _HiperPeer(self, [self.connect(HOST, port) for port in ports], self.tokens[device])

    def clean(self) -> None:
        """Delete the files behind its back: deleting them one by one with leases takes longer than measuring."""
        if self.deployment.store:
            empty_bucket(self.deployment.store, self.deployment.bucket)
        else:
            _empty_directory(self.deployment.files / "files")


class _HiperPeer:
    def __init__(self, system: Hiper, connections: Sequence[Connection], token: str) -> None:
        self._deployment = system.deployment
        self._connections = itertools.cycle(connections)
        self._auth = b"Authorization: Bearer %s\r\n" % token.encode()
        self._watch: Connection | None = None

    def upload(self, file: File) -> None:
        query = urlencode({"filename": file.name, "total_size": file.size})
        at = 0
        for chunk in file.chunks:
            fields = b"%sContent-Range: bytes %d-%d/%d\r\n" % (self._auth, at, at + len(chunk) - 1, file.size)
            while (answer := next(self._connections).ask("POST", f"/upload?{query}", fields, chunk)).status == 503:
                time.sleep(float(answer.field("Retry-After")))
            expect(answer, 200)
            at += len(chunk)

    def finish(self, file: File) -> None:
        """Look at the permanent storage itself, so that looking costs the services nothing."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_there(file_key(FileId(file.device, file.name))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{file.name} does not become complete")
            time.sleep(POLL)

    def _is_there(self, key: str) -> bool:
        store = self._deployment.store
        if store is None:
            return (self._deployment.files / key).exists()
        self._watch = self._watch or Connection(HOST, store.port)
        target = store.target("HEAD", f"/{self._deployment.bucket}/{key}")
        return self._watch.ask("HEAD", target).status == 200

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        return fetch(next(self._connections), f"/files/{file.name}", self._auth, start, end)


@dataclass
class Presigned:
    """The final objects of a deployment, read from MinIO itself."""

    deployment: Deployment
    name: str = "presigned GET"
    programs: list[Program] = field(default_factory=list)

    def peer(self, device: str) -> Peer:
        return _PresignedPeer(self.deployment)

    def clean(self) -> None:
        pass


class _PresignedPeer:
    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        if deployment.store is None:
            raise ValueError("files of a deployment without a store cannot be presigned")
        self._store = deployment.store
        self._connection = Connection(HOST, self._store.port)

    def upload(self, file: File) -> None:
        raise NotImplementedError

    def finish(self, file: File) -> None:
        pass

    def download(self, file: File, start: int = 0, end: int | None = None) -> int:
        target = self._store.target("GET", f"/{self._deployment.bucket}/{file_key(FileId(file.device, file.name))}")
        return fetch(self._connection, target, b"", start, end)


def fetch(connection: Connection, target: str, fields: bytes, start: int, end: int | None) -> int:
    if end is not None:
        fields += b"Range: bytes=%d-%d\r\n" % (start, end - 1)
    answer = expect(connection.ask("GET", target, fields, keep=False), 200 if end is None else 206)
    return int(answer.field("Content-Length"))


def register(deployment: Deployment, device: str, *scopes: str) -> str:
    """A new device, with the usual scopes unless some are named; its token."""
    auth = Connection(HOST, deployment.auth_port)
    admin = _token(auth, "admin", "e2e-admin-" + "a" * 40)
    fields = b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n" % admin.encode()
    body = json.dumps({"device_id": device, **({"scopes": scopes} if scopes else {})}).encode()
    answer = expect(auth.ask("POST", "/devices", fields, body), 201)
    return _token(auth, device, json.loads(answer.body)["client_secret"])


def _token(auth: Connection, client: str, secret: str) -> str:
    form = urlencode({"grant_type": "client_credentials", "client_id": client, "client_secret": secret})
    fields = b"Content-Type: application/x-www-form-urlencoded\r\n"
    answer = expect(auth.ask("POST", "/token", fields, form.encode()), 200)
    return str(json.loads(answer.body)["access_token"])


def make_bucket(store: Store, bucket: str) -> None:
    expect(Connection(HOST, store.port).ask("PUT", store.target("PUT", f"/{bucket}")), 200, 409)


def empty_bucket(store: Store, bucket: str) -> None:
    """Delete every object, through the adapter of this repository."""
    import asyncio

    from libs.common.storage import list_all
    from libs.common.storage.minio import MinioStore

    async def empty() -> None:
        signer = store.signer
        opened = MinioStore(
            endpoint=signer.endpoint, access_key=signer.access_key, secret_key=signer.secret_key, bucket=bucket
        )
        try:
            keys = [info.key for info in await list_all(opened, "")]
            for at in range(0, len(keys), BATCH):
                await opened.delete_many(keys[at : at + BATCH])
        finally:
            await opened.close()

    asyncio.run(empty())


def _empty_directory(directory: Path) -> None:
    if directory.exists():
        for entry in os.scandir(directory):
            shutil.rmtree(entry.path) if entry.is_dir() else Path(entry.path).unlink()
