"""Real MinIO and RabbitMQ in containers: they can be killed, and come back with the same address and data.

Images: MINIO_IMAGE and RABBITMQ_IMAGE (`.ci/prepare` sets them); without them MinIO is built from
deploy/images/minio, and RabbitMQ is the official image. They are reached on 127.0.0.1, or where
TESTCONTAINERS_HOST_OVERRIDE says that the engine publishes its ports.
"""

import contextlib
import gc
import http.client
import os
import socket
import ssl
import subprocess
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import docker
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage

from tests.ports import free_port

MINIO_SOURCE = Path(__file__).parents[1] / "deploy" / "images" / "minio"
READY_TIMEOUT = 90  # seconds; a RabbitMQ takes 4 to 8 on two busy cores


def docker_available() -> bool:
    """Whether a Docker engine answers within 5 seconds."""
    answers = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # where none answers, the SDK leaves a socket open
        with contextlib.suppress(DockerException), contextlib.closing(docker.from_env(timeout=5)) as client:
            answers = bool(client.ping())
        gc.collect()
    return answers


@dataclass
class Server:
    """A container whose port on the host never changes. All calls block."""

    container: DockerContainer
    host: str
    port: int
    inside: ClassVar[int]  # the port that the container listens on

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone. What it had handed to the kernel survives."""
        self.container.get_wrapped_container().kill("SIGKILL")
        self.container.get_wrapped_container().wait(timeout=READY_TIMEOUT)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 20 seconds; returns when the process is gone."""
        self.container.get_wrapped_container().stop(timeout=20)

    def start(self) -> None:
        """Start again after `kill` or `stop`; returns when the server answers."""
        self.container.get_wrapped_container().start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while not self.is_ready():
            self.container.reload()
            if self.container.status == "exited" or time.monotonic() > deadline:
                logs = b"".join(self.container.get_logs()).decode(errors="replace")
                raise TimeoutError(f"{self.container.image} does not get ready: {logs[-4000:]}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        raise NotImplementedError


class MinioServer(Server):
    inside = 9000
    access_key = "minioadmin"
    secret_key = "minioadmin"
    region = "us-east-1"
    domain = "store.test"  # buckets are hosts below it, for clients that can find them

    @property
    def endpoint(self) -> str:
        """host:port, plain HTTP"""
        return f"{self.host}:{self.port}"

    def is_ready(self) -> bool:
        peer = http.client.HTTPConnection(self.endpoint, timeout=2)
        with contextlib.closing(peer), contextlib.suppress(OSError, http.client.HTTPException):
            peer.request("GET", "/minio/health/cluster")  # /ready is 200 before users and buckets are loaded
            return peer.getresponse().status == 200
        return False


class RabbitmqServer(Server):
    inside = 5672

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    def kill(self) -> None:
        """SIGKILL; durable queues and confirmed messages survive.

        Erlang's disk tables hold the names of new queues back for 3 to 4 seconds. A quorum queue killed in
        that time comes back empty or not at all (seen with 3.10.8): so they are written out first.
        """
        self.control("eval", "[dets:sync(Table) || Table <- dets:all()].")
        super().kill()

    def queue_depths(self) -> dict[str, int]:
        """Queue name to messages in it, delivered but unacknowledged ones included; up to 1 s old."""
        rows = self.control("--silent", "list_queues", "name", "messages").splitlines()
        return {name: int(messages) for name, messages in (row.rsplit("\t", 1) for row in rows)}

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 2) as peer:
            peer.sendall(b"AMQP\x00\x00\x09\x01")
            return peer.recv(1) == b"\x01"  # a method frame: Connection.Start, so it takes logins
        return False

    def control(self, *command: str) -> str:
        result = self.container.exec(["rabbitmqctl", *command])
        if result.exit_code != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(command)}: {result.output!r}")
        return result.output.decode()


class TlsMinioServer(MinioServer):
    """On HTTPS alone."""

    def is_ready(self) -> bool:
        peer = http.client.HTTPSConnection(self.endpoint, timeout=2, context=_trusting())
        with contextlib.closing(peer), contextlib.suppress(OSError, http.client.HTTPException):
            peer.request("GET", "/minio/health/cluster")
            return peer.getresponse().status == 200
        return False

    def holds(self, text: bytes) -> bool:
        """Whether its disk holds a text, as it stands."""
        blocks, _ = self.container.get_wrapped_container().get_archive("/data")
        return text in b"".join(blocks)


class TlsRabbitmqServer(RabbitmqServer):
    """On AMQPS alone."""

    inside = 5671

    @property
    def url(self) -> str:
        return super().url.replace("amqp:", "amqps:")

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 2) as peer:
            peer.sendall(b"this is not TLS")
            return bool(peer.recv(1))  # an alert, from the moment it listens
        return False


def _trusting() -> ssl.SSLContext:
    """Asks nobody who they are: for looking whether somebody is there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def tls_minio_server(certs: Path, kms_key: str) -> contextlib.AbstractContextManager[TlsMinioServer]:
    """MinIO with `public.crt` and `private.key` of a directory, and a key for encryption (`name:base64`)."""
    environment = {
        "MINIO_ROOT_USER": MinioServer.access_key,
        "MINIO_ROOT_PASSWORD": MinioServer.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_KMS_SECRET_KEY": kms_key,
    }
    container = DockerContainer(minio_image(), env=environment, command="server /data --certs-dir /certs")
    return _running(TlsMinioServer, container.with_volume_mapping(certs, "/certs"), "minio-tls", None)


def tls_rabbitmq_server(certs: Path) -> contextlib.AbstractContextManager[TlsRabbitmqServer]:
    """RabbitMQ that wants to see a certificate of its clients: ca.crt, public.crt and private.key of a directory."""
    (certs / "rabbitmq.conf").write_text(
        "loopback_users = none\nlisteners.tcp = none\nlisteners.ssl.default = 5671\nlog.console = true\n"
        "ssl_options.cacertfile = /certs/ca.crt\nssl_options.certfile = /certs/public.crt\n"
        "ssl_options.keyfile = /certs/private.key\n"
        "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
    )
    container = DockerContainer(_rabbitmq_image()).with_volume_mapping(certs, "/certs")
    container = container.with_volume_mapping(certs / "rabbitmq.conf", "/etc/rabbitmq/rabbitmq.conf")
    return _running(TlsRabbitmqServer, container, "rabbitmq-tls", None)


def minio_server(*, name: str = "minio", port: int | None = None) -> contextlib.AbstractContextManager[MinioServer]:
    """MinIO with empty storage."""
    environment = {
        "MINIO_ROOT_USER": MinioServer.access_key,
        "MINIO_ROOT_PASSWORD": MinioServer.secret_key,
        "MINIO_REGION": MinioServer.region,
        "MINIO_DOMAIN": MinioServer.domain,
        "MINIO_BROWSER": "off",
    }
    container = DockerContainer(minio_image(), env=environment, command="server /data")
    return _running(MinioServer, container, name, port)


def rabbitmq_server(
    *, name: str = "rabbitmq", port: int | None = None
) -> contextlib.AbstractContextManager[RabbitmqServer]:
    """RabbitMQ with no queues."""
    tick = "-rabbit quorum_tick_interval 1000"  # milliseconds between updates of a quorum queue's depth
    container = DockerContainer(_rabbitmq_image(), env={"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": tick})
    return _running(RabbitmqServer, container, name, port)


S = TypeVar("S", bound=Server)


@contextlib.contextmanager
def _running(kind: type[S], container: DockerContainer, name: str, port: int | None) -> Iterator[S]:
    published = port or free_port()
    container.with_name(f"hiper-{name}-{uuid.uuid4().hex[:8]}").with_bind_ports(kind.inside, published)
    with container.with_kwargs(labels={"hiper-automotive": "test"}):  # removed with its volumes at the end
        server = kind(container, testcontainers_config.tc_host_override or "127.0.0.1", published)
        server.wait_until_ready()
        yield server


@dataclass(frozen=True)
class Versitygw:
    """A second S3-compatible store, a process of this machine: its program is named by HIPER_VERSITYGW."""

    endpoint: str
    access_key: str = "versitygw"
    secret_key: str = "versitygw-secret"
    region: str = "us-east-1"


@contextlib.contextmanager
def versitygw_server(program: str, root: Path) -> Iterator[Versitygw]:
    """A gateway that keeps its objects below `root`."""
    server = Versitygw(f"127.0.0.1:{free_port()}")
    command = [program, "--access", server.access_key, "--secret", server.secret_key, "--region", server.region]
    command += ["--port", server.endpoint, "--health", "/health", "--quiet", "posix", str(root)]
    with (root.parent / "versitygw.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(server.endpoint, process)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(endpoint: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while True:
        peer = http.client.HTTPConnection(endpoint, timeout=2)
        with contextlib.closing(peer), contextlib.suppress(OSError, http.client.HTTPException):
            peer.request("GET", "/health")
            if peer.getresponse().status == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError("versitygw does not get ready")
        time.sleep(0.1)


def _rabbitmq_image() -> str:
    return os.environ.get("RABBITMQ_IMAGE") or "rabbitmq:4-management"


def minio_image() -> str:
    """MINIO_IMAGE; without it, deploy/images/minio is built."""
    if image := os.environ.get("MINIO_IMAGE"):
        return image
    with DockerImage(MINIO_SOURCE, tag="hiper-automotive/minio:test", clean_up=False) as built:
        return str(built)
