"""Every setting, from the environment or `.env` (https://docs.pydantic.dev/latest/concepts/pydantic_settings/)."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common.observability.redaction import MASK, redact
from libs.common.security.allowance import Allowance, Share, check_classes

SYMMETRIC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2: a key of at least the hash's size for HS256


class ConfigurationError(Exception):
    """The settings cannot work as they are. The message names the setting and says what to write; of a value that holds
    a password it shows the rest."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


GiveUp = Callable[[ConfigurationError], None]
"""Ends the process, for a reason that no waiting cures."""
REFUSALS = 5  # in a row, in about 5 seconds: a store or a broker that is starting may not know its users yet


def _long_enough(secret: SecretStr) -> SecretStr:
    size = len(secret.get_secret_value().encode())
    if 0 < size < MIN_SECRET_BYTES:
        raise ValueError(f"is {size} bytes long; it must have at least {MIN_SECRET_BYTES} (try: openssl rand -hex 32)")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]


def _of_amqp(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise ValueError("must look like amqp://user:password@host:5672/vhost, or amqps://")
    return url


def _host_and_port(endpoint: str) -> str:
    if not re.fullmatch(r"[^\s/@]+", endpoint):
        shown = MASK if "@" in endpoint else endpoint
        raise ValueError(f"is {shown!r}; it must be host:port without a scheme (try: minio.example.com:9000)")
    return endpoint


def _of_addresses(addresses: str) -> str:
    for address in addresses.split(",") if addresses != "*" else ():
        try:
            ipaddress.ip_network(address.strip())
        except ValueError as error:
            raise ValueError(f"{error} (try: 10.0.0.0/8,fd00::/8)") from None
    return addresses


def _of_networks(networks: str) -> str:
    if networks == "*":
        raise ValueError("names no network (try: 10.20.0.0/16)")
    return _of_addresses(networks) if networks else networks


class Settings(BaseSettings):
    """Sizes are in bytes, times in seconds, unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # -- tokens
    secret_key: Secret = Field(SecretStr(""), description="Signs tokens (HS*): at least 32 bytes.")
    secret_key_previous: Secret = Field(
        SecretStr(""), description="The SECRET_KEY before a rotation: still verifies, signs nothing."
    )
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] = (
        Field("HS256", description="JWT signing algorithm.")
    )
    private_key_file: Path | None = Field(None, description="PEM private key (auth only, RS/PS/ES/EdDSA).")
    public_key_files: list[Path] = Field(
        [], description="PEM public keys that also verify, as a JSON list: the next or previous key in a rotation."
    )
    jwks_url: str = Field("", description="Where ingest fetches the public keys (auth's /.well-known/jwks.json).")
    access_token_expire_minutes: float = Field(30, gt=0, description="Life of a token, in minutes.")
    token_issuer: str = Field("hiper-auth", description="`iss` of every token.")
    token_audience: str = Field("hiper", description="`aud` of every token.")
    admin_secret: Secret = Field(
        SecretStr(""), description="Secret of the first client, id `admin`: at least 32 bytes."
    )
    token_failures_per_client: int = Field(
        10,
        ge=0,
        description="Wrong secrets in a minute for one client id from one address (IPv6: from one network of 64 bits). "
        "More are looked at a few at a time, and answered with 429. 0: no limit.",
    )
    token_failures_per_address: int = Field(
        100, ge=0, description="Likewise, for all client ids together from one address."
    )
    test_device_secret: Secret = Field(
        SecretStr(""),
        description="Secret of a device `helm-test` that needs no registration, for a check of the whole (the chart's "
        "`helm test`): at least 32 bytes. Empty: there is no such device.",
    )
    revocation_interval: float = Field(5, gt=0, le=20, description="Between two looks at the revocations.")
    revocation_max_age: float = Field(
        600,
        ge=60,
        description="How long a replica takes tokens while it cannot read the revocations; then it is not ready.",
    )
    secret_overlap: float = Field(
        86400, ge=0, description="How long a device's old secret stays valid after its rotation."
    )

    client_cert_header: str = Field(
        "",
        description="Header in which the edge passes the subject of the client certificate that it verified: its CN "
        "must then be the client's id. Only behind an edge that sets it itself.",
    )

    # -- storage
    object_store: Literal["filesystem", "minio"] = Field("filesystem", description="Where the bytes are.")
    temp_upload_dir: Path = Field(Path("data/temp"), description="Uploads in progress (filesystem).")
    perm_upload_dir: Path = Field(Path("data/perm"), description="Complete and partial files (filesystem).")
    auth_dir: Path = Field(Path("data/auth"), description="Devices and revocations (filesystem).")
    minio_endpoint: Annotated[str, AfterValidator(_host_and_port)] = Field(
        "127.0.0.1:9000", description="host:port of the S3-compatible store."
    )
    minio_access_key: str = Field("", description="Access key of the store.")
    minio_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of the store.")
    minio_session_token: SecretStr = Field(SecretStr(""), description="Goes with an access key that was lent.")
    minio_credentials: Literal["static", "aws"] = Field(
        "static",
        description="The keys above; or as AWS's tools find them: environment, shared file, web identity, role.",
    )
    minio_sts_endpoint: str = Field("", description="URL of the STS for web identities; empty: that of AWS.")
    minio_addressing: Literal["auto", "path", "virtual-host"] = Field(
        "auto", description="Where the bucket goes: in the path, or in the host's name (auto: for AWS)."
    )
    minio_secure: bool = Field(False, description="HTTPS to the store.")
    minio_region: str = Field("us-east-1", description="Region of the buckets.")
    minio_sse: Literal["none", "s3", "kms"] = Field(
        "none", description="Server-side encryption that new objects ask for: the store's key, or one of its KMS."
    )
    minio_sse_kms_key_id: str = Field("", description="The key in the KMS; empty: the bucket's default.")
    temp_bucket: str = Field("hiper-temp", description="Uploads in progress (minio).")
    perm_bucket: str = Field("hiper-perm", description="Complete and partial files (minio).")
    auth_bucket: str = Field("hiper-auth", description="Devices and revocations (minio).")

    # -- events
    event_bus: Literal["memory", "rabbitmq"] = Field("memory", description="How events travel.")
    rabbitmq_url: Annotated[SecretStr, AfterValidator(_of_amqp)] = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"), description="AMQP 0-9-1 URL of the broker."
    )

    rabbitmq_cert_file: Path | None = Field(None, description="PEM certificate that the broker wants to see.")
    rabbitmq_key_file: Path | None = Field(None, description="Its private key, if it is not in the same file.")

    # -- TLS to the store (MINIO_SECURE), the broker (amqps://) and the issuer of keys (https://)
    tls_ca_file: Path | None = Field(
        None, description="PEM bundle of the CAs that may have signed their certificates; default: the system's."
    )

    # -- janitor and assembler
    cleanup_interval: float = Field(3600, gt=0, description="Between two sweeps for stale uploads.")
    recovery_interval: float = Field(60, gt=0, description="Between two sweeps for stalled uploads.")
    stale_threshold: float = Field(3600, gt=0, description="Age of the newest chunk of a stale upload.")

    # -- the fleet at a glance
    fleet_interval: float = Field(
        60,
        ge=0,
        description="Between two sweeps for GET /uploads and GET /devices, which show what the last one saw. They are "
        "rarer where they would take more than a tenth of the janitor's time. 0: there are none, and complete "
        "files are not compared with the feed once a FLEET_COUNT_INTERVAL.",
    )
    fleet_count_interval: float = Field(
        86400,
        gt=0,
        description="Longest time between two listings of all complete files, which count what each device has stored. "
        "They come as often as they take a hundredth of the janitor's time.",
    )
    stuck_after: float = Field(
        300,
        gt=0,
        description="Time without a new byte, or without the file once all bytes are there, after which "
        "GET /uploads calls an upload stuck.",
    )

    # -- the feed of outcomes
    feed_days: int = Field(
        7, ge=1, le=3650, description="Whole days for which outcomes can be read from `GET /feed`, before today."
    )

    # -- webhooks
    janitor_notifies: bool = Field(
        True,
        description="Whether this janitor (or `hiper serve`) posts outcomes to webhooks: one of them at a time does.",
    )
    webhook_networks: Annotated[str, AfterValidator(_of_networks)] = Field(
        "",
        description="Networks that webhooks may be sent to although they are not public, with commas between: e.g. "
        "`10.20.0.0/16`. Whoever may make webhooks can reach every program that listens there.",
    )
    webhook_http: bool = Field(
        False, description="Whether webhooks may have http:// addresses. Without TLS everybody on the way reads them."
    )

    # -- ingest
    max_chunk_size: int = Field(64 * 2**20, gt=0, description="Largest payload that has a checksum or digest.")
    min_chunk_size: int = Field(
        1024,
        ge=0,
        description="Least payload of a chunk that neither ends the file nor fills a gap, once its upload has 10,000 "
        "chunks. 0: none.",
    )
    max_file_size: int = Field(2**40, gt=0, description="Largest total_size.")
    memory_budget: int = Field(
        128 * 2**20, ge=0, description="Payload bytes that one ingest process holds in memory; the rest spools to disk."
    )
    body_timeout: float = Field(300, gt=0, description="Longest time for a request body, or for a piece of it.")
    body_idle_timeout: float = Field(15, gt=0, description="Longest silence within a request body.")
    body_least_rate: float = Field(
        1024, ge=0, description="Bytes per second that a body must reach on average after its first 10 seconds."
    )

    # -- limits
    limits_classes: Annotated[dict[str, Allowance], AfterValidator(check_classes)] = Field(
        {},
        description="What a device may use, as JSON: device class to limits (docs/limits.md). None are set by default.",
    )
    limits_fleet: Share = Field(Share(), description="What all devices together may use, as JSON.")
    limits_storage_uri: SecretStr = Field(
        SecretStr("memory://"),
        description="Where requests and uploaded bytes are counted: in each process, or e.g. `redis://redis:6379/0`.",
    )
    max_requests_in_flight: int = Field(
        0, ge=0, description="Requests under way in one process; more are answered with 503. 0: no limit."
    )
    max_streams: int = Field(
        5000, ge=0, description="Streams and waits open in one process; more are answered with 429. 0: no limit."
    )
    max_streams_per_device: int = Field(
        100,
        ge=0,
        description="Streams and waits that one device, or one program, has open in one process. 0: no limit.",
    )

    # -- processes
    secrets_dir: Path | None = Field(
        None, description="Directory of files that are settings too, each named like one (mounted secrets)."
    )
    host: str = Field(
        "localhost",
        description="Address or name to listen at. `localhost`: 127.0.0.1 and ::1. `::`: every address, of IPv6 and of "
        "IPv4. `0.0.0.0`: every address of IPv4.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port of the HTTP API.")
    header_timeout: float = Field(10, gt=0, description="Longest time that a request's headers may take.")
    max_header_bytes: int = Field(
        32 * 1024, ge=1024, description="Most bytes of a request's address and headers; more are answered with 431."
    )
    answer_idle_timeout: float = Field(
        60, gt=0, description="Longest time that a client may read nothing of an answer; then its connection is cut."
    )
    answer_least_rate: float = Field(
        1024,
        ge=0,
        description="Bytes per second at which a client must read an answer, on average over ANSWER_IDLE_TIMEOUT.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of /livez, /readyz and /metrics alone. Assembler and janitor: 9000 if it is not set. Ingest, "
        "auth and `hiper serve`: if it is set, PORT has /livez and /readyz too, and no /metrics.",
    )
    admin_api_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port at which auth and `hiper serve` answer /devices, so that PORT, which devices "
        "reach, has no such address. Empty: /devices is at PORT.",
    )
    admin_api_host: str = Field("localhost", description="Address or name to listen at for ADMIN_API_PORT, as HOST.")
    docs_enabled: bool = Field(True, description="Answer /docs and /openapi.json.")
    trust_traceparent: bool = Field(
        False,
        description="Continue the trace that a request's `traceparent` names. Only behind an edge that lets no "
        "stranger's through.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    access_log_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How many of the requests that succeed have a line in the log, 0 to 1. Those that fail (status 400 "
        "and more) always have one. A line takes a tenth of the processor time of a small chunk.",
    )
    audit_log: str = Field(
        "",
        description="Where the audit trail goes: `stdout`, or a file; empty: among the other log lines, marked with "
        "`stream=audit`.",
    )
    forwarded_allow_ips: Annotated[str, AfterValidator(_of_addresses)] = Field(
        "127.0.0.1,::1",
        description="Addresses and networks of the proxies whose X-Forwarded-For is believed, with commas between. "
        "`*`: everybody is.",
    )
    start_timeout: float = Field(
        120, gt=0, description="Longest time that a starting process waits for a store that is away; then it ends."
    )
    shutdown_delay: float = Field(
        0,
        ge=0,
        description="How long SIGTERM goes on serving, asking clients to close their connections, before the drain.",
    )
    drain_timeout: float = Field(25, gt=0, description="Longest time that SIGTERM waits for work in hand.")

    @property
    def worker_port(self) -> int:
        """Where a process without an API of its own listens."""
        return 9000 if self.metrics_port is None else self.metrics_port

    @property
    def metrics_elsewhere(self) -> bool:
        """Whether /metrics has a port that is not the API's."""
        return self.metrics_port not in (None, 0, self.port)

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.admin_api_port and self.admin_api_port in (self.port, self.metrics_port):
            raise ValueError("ADMIN_API_PORT must not be PORT or METRICS_PORT: e.g. ADMIN_API_PORT=8001")
        return self

    @model_validator(mode="after")
    def _encryption_fits(self) -> Self:
        if self.minio_sse_kms_key_id and self.minio_sse != "kms":
            raise ValueError("MINIO_SSE_KMS_KEY_ID goes with MINIO_SSE=kms")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.max_chunk_size > self.max_file_size:
            raise ValueError(
                f"MAX_CHUNK_SIZE ({self.max_chunk_size}) must not be larger than MAX_FILE_SIZE ({self.max_file_size}): "
                "e.g. MAX_CHUNK_SIZE=67108864 MAX_FILE_SIZE=1099511627776"
            )
        return self
