"""What a device sees when auth's clock is wrong for a while: its tokens are refused with the reason, and it goes on
with a new one once the clock is right."""

import pytest

from libs.common.security.revocations import Revocations, read_revoked
from libs.common.security.tokens import LEEWAY, InvalidToken, TokenVerifier
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from services.auth.ledger import Ledger
from tests.unit.auth.talk import AuthApi
from tests.unit.clocks import ManualClock

HOUR = 3600.0  # seconds, twice the life of a token
EARLY, EXPIRED = "The token is not valid yet", "The token has expired"


@pytest.mark.parametrize(
    ("off", "reason"),
    [(HOUR, EARLY), (2.0 * LEEWAY, EARLY), (0.5 * LEEWAY, ""), (-HOUR / 4, ""), (-HOUR, EXPIRED)],
)
async def test_a_token_of_a_wrong_clock_is_refused_with_its_reason_and_the_next_is_taken(
    api: AuthApi, settings: Settings, clock: ManualClock, off: float, reason: str
) -> None:
    secret, verifier = await api.register(), TokenVerifier(settings)
    before = await api.access_token("car-7", secret)
    clock.advance(off)
    meanwhile = await api.access_token("car-7", secret)
    assert await _refused(verifier, meanwhile) == reason
    clock.advance(-off)
    for token in (before, await api.access_token("car-7", secret)):
        assert (await verifier.verify(token)).subject == "car-7"


async def test_no_revocation_is_forgotten_by_a_clock_that_jumps(store: FilesystemStore, clock: ManualClock) -> None:
    ledger = Ledger(store, Revocations(store, 5, clock), 1800, clock)
    second = await ledger.revoke("car-7")
    for off in (HOUR, -2 * HOUR):
        clock.advance(off)
        await ledger.revoke("car-8")
        await ledger.repair()
        assert (await read_revoked(store))["car-7"] == second


async def _refused(verifier: TokenVerifier, token: str) -> str:
    """Why; empty if it is not."""
    try:
        await verifier.verify(token)
    except InvalidToken as refused:
        return refused.reason
    return ""
