"""Presigned URLs for S3 (AWS Signature Version 4 in the query string). The only file that imports `minio`.

The SDK's own `presign_v4` signs the Host header alone, and S3 refuses `x-amz-meta-*` headers that are not signed;
and it does all of it anew for each URL, of which most is the same for a second.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import asyncio
import hmac
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from hashlib import sha256
from urllib.parse import quote

from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    IamAwsProvider,
    Provider,
)
from urllib3 import PoolManager, Retry, Timeout
from yarl import URL

from libs.common.storage import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and for which store. `endpoint` is host:port; the token goes with keys that were lent."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    secure: bool = False
    session_token: str = field(default="", repr=False)

    def url(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        issued: int,
        seconds: int,
    ) -> URL:
        """A URL that the store takes until `seconds` after `issued` (seconds since the epoch, in its own time).

        `path` is not yet quoted. The request must carry `headers` as they are here, and may carry others."""
        origin, host = _origin(self.endpoint, secure=self.secure)
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(issued))
        scope = f"{date[:8]}/{self.region}/s3/aws4_request"
        signed = {"host": host} | {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        asked = {
            **query,
            **({"X-Amz-Security-Token": self.session_token} if self.session_token else {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{scope}",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
        }
        target = quote(path, safe="/~"), _encoded(tuple(sorted(asked.items())))
        request = "\n".join((method, *target, _canonical(signed), "UNSIGNED-PAYLOAD"))
        text = "\n".join(("AWS4-HMAC-SHA256", date, scope, sha256(request.encode()).hexdigest()))
        signature = _hmac(_signing_key(self.secret_key, scope), text).hex()
        return URL(f"{origin}{target[0]}?{target[1]}&X-Amz-Signature={signature}", encoded=True)


class KeyRing:
    """Keys that are lent for some time, and renewed in a thread before they end."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._lent: Credentials | None = None
        self._asking = asyncio.Lock()

    async def equip(self, signer: Signer) -> Signer:
        """The signer with the keys of the moment. Raises StoreUnavailable while nobody lends any."""
        async with self._asking:
            if self._lent is None or self._lent.is_expired():
                self._lent = await asyncio.to_thread(self._ask)
            lent = self._lent
        return replace(
            signer, access_key=lent.access_key, secret_key=lent.secret_key, session_token=lent.session_token or ""
        )

    def _ask(self) -> Credentials:
        try:
            return self._provider.retrieve()
        except Exception as error:  # the SDK raises what its parsers and its HTTP client do
            raise StoreUnavailable(f"MINIO_CREDENTIALS=aws: nobody lends keys ({type(error).__name__})") from error


def aws_keys(sts_endpoint: str, region: str, tls: ssl.SSLContext | None = None) -> KeyRing:
    """Keys as AWS's own tools find them: AWS_ACCESS_KEY_ID and its siblings; the shared credentials file; a web
    identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN) at an STS; the container's or the machine's role."""
    patient = Timeout(connect=2, read=10)  # the SDK's own waits for ever
    tried = Retry(2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
    http = PoolManager(timeout=patient, retries=tried, ssl_context=tls)
    role = IamAwsProvider(custom_endpoint=sts_endpoint or None, region=region, http_client=http)
    return KeyRing(ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), role]))


@lru_cache(maxsize=16)
def _origin(endpoint: str, *, secure: bool) -> tuple[str, str]:
    """Scheme and host of a store, and its Host header, which has no port where that is the scheme's own."""
    base = URL(f"{'https' if secure else 'http'}://{endpoint}")
    return str(base.origin()), base.host_port_subcomponent or ""


@lru_cache(maxsize=16)
def _signing_key(secret_key: str, scope: str) -> bytes:
    """Of one day: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    return reduce(_hmac, scope.split("/"), f"AWS4{secret_key}".encode())


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


@lru_cache(maxsize=256)  # most requests of a second ask for the same
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)


def _canonical(headers: Mapping[str, str]) -> str:
    names = sorted(headers)
    return "\n".join((*(f"{name}:{headers[name]}" for name in names), "", ";".join(names)))
