"""Presigned URLs for S3 (AWS Signature Version 4 in the query string). The only file that imports `minio`.

The SDK's own `presign_v4` signs the Host header alone, and S3 refuses `x-amz-meta-*` headers that are not signed;
so the canonical request is built here, and the SDK derives the key and signs.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
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
from minio.signer import get_credential_string, post_presign_v4
from urllib3 import PoolManager, Retry, Timeout
from yarl import URL

from libs.common.store import StoreUnavailable


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
        base = URL(f"{'https' if self.secure else 'http'}://{self.endpoint}")
        date = datetime.fromtimestamp(issued, UTC)
        credential = get_credential_string(self.access_key, date, self.region)
        signed = {"host": base.host_port_subcomponent or ""}
        signed |= {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        asked = {
            **query,
            **({"X-Amz-Security-Token": self.session_token} if self.session_token else {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": credential,
            "X-Amz-Date": f"{date:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
        }
        target = quote(path, safe="/~"), _encoded(asked)
        request = "\n".join((method, *target, _canonical(signed), "UNSIGNED-PAYLOAD"))
        scope = credential.removeprefix(f"{self.access_key}/")
        text = "\n".join(("AWS4-HMAC-SHA256", asked["X-Amz-Date"], scope, sha256(request.encode()).hexdigest()))
        signature = post_presign_v4(text, self.secret_key, date, self.region)  # it signs any text
        return URL(f"{base.origin()}{target[0]}?{target[1]}&X-Amz-Signature={signature}", encoded=True)


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


def _encoded(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))


def _canonical(headers: Mapping[str, str]) -> str:
    names = sorted(headers)
    return "\n".join((*(f"{name}:{headers[name]}" for name in names), "", ";".join(names)))
