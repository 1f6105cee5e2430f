"""Who may do what with whose files."""

from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from tests.unit.clocks import ManualClock
from tests.unit.ingest.running import ADMIN_SECRET, OWNER, files_below, settled, stored, token_for
from tests.unit.ingest.talk import CountedBody, Device, accepted, framed, of, refused

CONTENT = b"0123456789"
EVERYTHING = "files:read files:write fleet:read fleet:write admin"
ROUTES = (
    ("POST", "/upload?filename=a&total_size=10"),
    ("GET", "/files"),
    ("GET", "/files/a"),
    ("GET", "/files/a/status"),
    ("DELETE", "/files/a"),
)


def expired(settings: Settings) -> str:
    clock = ManualClock()
    clock.advance(-settings.access_token_expire_minutes * 60 - 1)
    return TokenIssuer(settings, clock).issue(OWNER, ["files:read", "files:write"]).encoded


def remade(settings: Settings, key: str, algorithm: str, **claims: Any) -> str:
    """A good token with other claims, signed otherwise."""
    good = token_for(settings)
    body = jwt.decode(good, options={"verify_signature": False})
    headers = {"kid": jwt.get_unverified_header(good)["kid"]}
    return jwt.encode(body | claims, key, algorithm=algorithm, headers=headers)


BAD_TOKENS: dict[str, Callable[[Settings], str]] = {
    "none": lambda settings: "",
    "of another scheme": lambda settings: "Basic Y2FyLTc6c2VjcmV0",
    "garbage": lambda settings: "Bearer abc",
    "expired": lambda settings: f"Bearer {expired(settings)}",
    "forged": lambda settings: f"Bearer {remade(settings, 'k' * 64, 'HS256')}",
    "alg none": lambda settings: f"Bearer {remade(settings, '', 'none')}",
    "another audience": lambda settings: f"Bearer {remade(settings, key_of(settings), 'HS256', aud='other')}",
    "cut": lambda settings: f"Bearer {token_for(settings)[:-1]}",
}


def key_of(settings: Settings) -> str:
    return settings.secret_key.get_secret_value()


def test_a_remade_token_is_bad_only_by_what_was_changed(settings: Settings) -> None:
    assert remade(settings, key_of(settings), "HS256").count(".") == 2


@pytest.mark.parametrize("authorization", BAD_TOKENS.values(), ids=BAD_TOKENS)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_good_token_nothing_is_answered_and_no_body_read(
    http: httpx.AsyncClient,
    settings: Settings,
    method: str,
    path: str,
    authorization: Callable[[Settings], str],
) -> None:
    body = CountedBody([framed(CONTENT)])
    given = authorization(settings)
    headers = {"Authorization": given} if given else {}
    answer = await http.request(method, path, content=body, headers=headers)
    refused(answer, 401, "unauthorized")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer")
    assert ('error="invalid_token"' in challenge) == given.startswith("Bearer")
    assert body.taken == 0
    assert stored(settings) == {}


async def test_a_good_token_remade_with_the_same_key_is_good(http: httpx.AsyncClient, settings: Settings) -> None:
    """Or the table above would prove nothing."""
    accepted(await Device(http, remade(settings, key_of(settings), "HS256")).chunk("a", CONTENT))


async def test_a_revoked_device_is_shut_out_at_once(http: httpx.AsyncClient, settings: Settings) -> None:
    admin = Device(http, token_for(settings, "admin", EVERYTHING))
    registered = await admin.ask("POST", "/devices", json={"device_id": "car-9"})
    secret = registered.json()["client_secret"]
    grant = {"grant_type": "client_credentials", "client_id": "car-9", "client_secret": secret}
    car = Device(http, (await http.post("/token", data=grant)).json()["access_token"])
    accepted(await car.chunk("a", CONTENT, 0, 5))
    before = stored(settings)
    assert (await admin.ask("DELETE", "/devices/car-9")).status_code == 204
    answer = await car.chunk("a", CONTENT, 5, 10)
    refused(answer, 401, "unauthorized")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert stored(settings) == before


def test_the_admin_secret_of_the_tests_is_the_one_of_the_process(settings: Settings) -> None:
    assert settings.admin_secret.get_secret_value() == ADMIN_SECRET


# caller, scopes, owner asked for -> the scope that is missing; None where it is allowed, "" where no scope helps
READING = (
    ("car-7", "files:read", None, None),
    ("car-7", "files:read", "car-7", None),
    ("car-7", "files:read", "fleet", None),
    ("car-7", "files:write", None, "files:read"),
    ("car-7", "files:write fleet:write admin", "fleet", "files:read"),
    ("car-7", "", None, "files:read"),
    ("car-8", "files:read files:write", "car-7", "fleet:read"),
    ("car-8", "fleet:write admin", "car-7", "fleet:read"),
    ("car-8", "fleet:read", "car-7", None),
    ("car-8", "fleet:read", "fleet", None),
    ("car-7", "fleet:read", None, None),
)
WRITING = (
    ("car-7", "files:write", None, None),
    ("car-7", "files:write", "car-7", None),
    ("car-7", "fleet:write", "fleet", None),
    ("car-7", "files:read fleet:read fleet:write admin", None, "files:write"),
    ("car-7", "files:read files:write fleet:read admin", "fleet", "fleet:write"),
    ("car-8", EVERYTHING, "car-7", ""),
    ("admin", EVERYTHING, "car-7", ""),
)
DELETING = (
    ("car-7", "files:write", None, None),
    ("car-7", "fleet:write", "fleet", None),
    ("ops", "fleet:manage", "car-7", None),
    ("ops", "fleet:manage", "fleet", None),
    ("car-7", "fleet:manage", None, None),
    ("car-7", "files:read fleet:read fleet:write admin", None, "files:write"),
    ("car-7", "files:read files:write fleet:read admin", "fleet", "fleet:write"),
    ("car-8", "files:read files:write fleet:read fleet:write admin", "car-7", "fleet:manage"),
)


def refused_for(answer: httpx.Response, missing: str) -> None:
    document = refused(answer, 403, "forbidden")
    if missing:
        assert document["required_scope"] == missing
        assert f'error="insufficient_scope", scope="{missing}"' in answer.headers["www-authenticate"]


@pytest.fixture
async def published(http: httpx.AsyncClient, settings: Settings) -> None:
    """The same name, of car-7 and of the fleet."""
    car = Device(http, token_for(settings, "car-7", "files:write files:read"))
    await car.upload("a", b"of car-7")
    fleet = Device(http, token_for(settings, "ops", "fleet:write fleet:read"))
    await fleet.upload("a", b"of the fleet", owner="fleet")
    await settled(settings)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("subject", "scopes", "owner", "missing"), READING)
async def test_who_may_read(
    http: httpx.AsyncClient,
    settings: Settings,
    subject: str,
    scopes: str,
    owner: str | None,
    missing: str | None,
) -> None:
    caller, query = Device(http, token_for(settings, subject, scopes)), of(owner)
    answers = [await caller.ask("GET", path, params=query) for path in ("/files/a", "/files/a/status", "/files")]
    answers.append(await caller.ask("HEAD", "/files/a", params=query))
    if missing is None:
        assert [answer.status_code for answer in answers] == [200] * 4
        assert answers[0].content == (b"of the fleet" if owner == "fleet" else b"of car-7")
        whose = owner or subject
        assert (answers[1].json()["owner"], answers[2].json()["files"][0]["owner"]) == (whose, whose)
    else:
        for answer in answers[:3]:
            refused_for(answer, missing)
        assert answers[3].status_code == 403


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("subject", "scopes", "owner", "missing"), WRITING)
async def test_who_may_write(
    http: httpx.AsyncClient,
    settings: Settings,
    subject: str,
    scopes: str,
    owner: str | None,
    missing: str | None,
) -> None:
    caller, before = Device(http, token_for(settings, subject, scopes)), stored(settings)
    sent = await caller.chunk("b", CONTENT, 0, 5, owner=owner)
    if missing is None:
        assert accepted(sent)["owner"] == (owner or subject)
    else:
        refused_for(sent, missing)
        assert stored(settings) == before


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("subject", "scopes", "owner", "missing"), DELETING)
async def test_who_may_delete(
    http: httpx.AsyncClient,
    settings: Settings,
    subject: str,
    scopes: str,
    owner: str | None,
    missing: str | None,
) -> None:
    caller, before = Device(http, token_for(settings, subject, scopes)), stored(settings)
    answer = await caller.delete("a", owner=owner)
    if missing is None:
        assert answer.status_code == 204
        await settled(settings)
        left = {"fleet", "car-7"} - {owner or "car-7"}
        assert {path.parent.name for path in files_below(settings.perm_upload_dir / "files")} == left
    else:
        refused_for(answer, missing)
        assert stored(settings) == before


@pytest.mark.usefixtures("published")
async def test_who_manages_files_sees_them_and_reads_no_byte(http: httpx.AsyncClient, settings: Settings) -> None:
    caller = Device(http, token_for(settings, "ops", "fleet:manage"))
    for path in ("/files/a/status", "/files"):
        assert (await caller.ask("GET", path, params=of("car-7"))).status_code == 200
    refused_for(await caller.ask("GET", "/files/a", params=of("car-7")), "fleet:read")
    refused_for(await caller.ask("GET", "/files/a", params=of("fleet")), "files:read")


async def test_an_operator_cancels_an_upload_of_a_device_and_only_the_one_that_it_names(
    device: Device, http: httpx.AsyncClient, settings: Settings
) -> None:
    session = accepted(await device.chunk("a", CONTENT, 0, 5))["session"]
    caller = Device(http, token_for(settings, "ops", "fleet:manage"))
    refused(await caller.delete("a", {"If-Match": '"5-another"'}, owner="car-7"), 412, "precondition-failed")
    accepted(await device.chunk("a", CONTENT, 5, 7))
    assert (await caller.delete("a", {"If-Match": f'"{session}"'}, owner="car-7")).status_code == 204
    refused(await device.chunk("a", CONTENT, 7, 10, {"If-Match": f'"{session}"'}), 412, "precondition-failed")
    await settled(settings)
    assert (await device.files())["files"] == []


@pytest.mark.parametrize("owner", ["", "..", "../car-7", "car/7", "a b", "-a", "x" * 65, "ä"])
async def test_an_owner_must_be_a_device_id_or_fleet(http: httpx.AsyncClient, settings: Settings, owner: str) -> None:
    caller = Device(http, token_for(settings, "ops", EVERYTHING))
    for answer in (
        await caller.chunk("a", CONTENT, owner=owner),
        await caller.get("a", owner=owner),
        await caller.delete("a", owner=owner),
    ):
        refused(answer, 400, "bad-request")
    assert stored(settings) == {}


@pytest.mark.usefixtures("published")
async def test_owners_do_not_see_each_other_s_names(http: httpx.AsyncClient, settings: Settings) -> None:
    other = Device(http, token_for(settings, "car-8"))
    for answer in (await other.get("a"), await other.status("a"), await other.delete("a")):
        refused(answer, 404, "not-found")
    assert (await other.files())["files"] == []


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/files/a.bin", "DELETE, GET, HEAD"),
        ("/files/a.bin/status", "GET"),
        ("/upload", "POST"),
        ("/devices", "GET, POST"),
        ("/devices/car-7", "DELETE, GET, PATCH"),
    ],
)
async def test_a_method_that_an_address_does_not_take_is_told_all_that_it_takes(
    device: Device, path: str, allow: str
) -> None:
    for method in ("PUT", "TRACE", "OPTIONS", "BREW"):
        answer = await device.ask(method, path)
        refused(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == allow
