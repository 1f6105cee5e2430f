"""Signatures are those of Standard Webhooks: its own library takes them."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from libs.common.webhooks.signing import new_secret, signed_headers

BODY = '{"subject": "car-7/Größe ☃.bin"}'.encode()


def test_the_library_of_the_specification_takes_a_signature() -> None:
    secret = new_secret()
    headers = signed_headers(secret, "5f0c2ad19b3e4a77.deleted", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, headers) == {"subject": "car-7/Größe ☃.bin"}


def test_the_example_of_the_specification() -> None:
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_whatever_is_changed_the_signature_fits_no_more(changed: str) -> None:
    secret, now = new_secret(), int(time.time())
    headers = signed_headers(secret, "id-1", now, BODY)
    if changed in headers:
        headers[changed] = {"webhook-id": "id-2", "webhook-timestamp": str(now + 1)}[changed]
    body = BODY + b" " if changed == "body" else BODY
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if changed == "secret" else secret).verify(body, headers)


def test_secrets_are_random_and_long() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)
