"""The ingest service by itself: no assembler, no janitor, no tokens of its own."""

import httpx
import pytest

from libs.common.settings import ConfigurationError, Settings
from services.ingest.app import build_app
from tests.unit.ingest.running import token_for
from tests.unit.ingest.talk import Device, accepted, refused
from tests.unit.keyrings import plain_settings

CONTENT = b"0123456789"


async def test_it_takes_chunks_and_says_how_far_a_file_is(settings: Settings) -> None:
    app = build_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        assert (await http.get("/readyz")).text == "ok"
        device = Device(http, token_for(settings))
        accepted(await device.chunk("a", CONTENT, 0, 5))
        assert accepted(await device.chunk("a", CONTENT, 5, 10))["next_expected_byte"] == 10
        assert accepted(await device.status("a"))["status"] == "pending"
        refused(await http.post("/token"), 404, "no-route")


def test_it_does_not_start_without_a_key_to_verify_tokens_with() -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        build_app(plain_settings())
