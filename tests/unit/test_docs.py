"""The documents say what the code does: generated parts, test vectors, transcripts, the C function, the session."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from libs.common.problems import Kind
from libs.common.security.tokens import TokenIssuer
from libs.common.settings import Settings
from scripts.generate_docs import MAIN_SETTINGS, ROOT, WHOLE, WITH_BLOCKS, documents
from scripts.problem_advice import ADVICE
from services.embedded.app import build_app
from tests.e2e.processes import Process, running
from tests.unit.keyrings import SECRET, plain_settings

DEVICE = "car-17"
PROTOCOL = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "docs/vectors.json").read_text(encoding="utf-8"))
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SESSION_ID = re.compile(r"\b[0-9a-f]{16}\b")


# -- generated parts


@pytest.mark.parametrize("path", [*WITH_BLOCKS, *WHOLE])
def test_what_documents_repeat_of_the_code_is_up_to_date(path: str) -> None:
    """If this fails: python -m scripts.generate_docs"""
    assert (ROOT / path).read_text(encoding="utf-8") == documents()[path]


def test_the_example_of_an_env_file_names_exactly_the_settings() -> None:
    names = re.findall(r"^#([A-Z_]+)=", WHOLE[".env.example"](), re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]


def test_the_example_of_an_env_file_holds_the_defaults(tmp_path: Path) -> None:
    none = {name.upper() for name, field in Settings.model_fields.items() if field.default is None}
    lines = re.findall(r"^#([A-Z_]+)(=.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    file = tmp_path / "env"
    file.write_text("".join(f"{name}{value}\n" for name, value in lines if name not in none), encoding="utf-8")
    assert Settings(_env_file=file) == plain_settings()


def test_the_most_important_settings_are_settings() -> None:
    assert set(MAIN_SETTINGS) <= Settings.model_fields.keys()


def test_every_problem_type_says_what_to_do() -> None:
    assert ADVICE.keys() == set(Kind)


def test_the_numbers_of_the_protocol_are_the_defaults() -> None:
    text, settings = " ".join(PROTOCOL.split()), plain_settings()
    for number in (
        f"At most {settings.max_chunk_size // 2**20} MiB in one chunk",
        f"silent for {settings.body_idle_timeout:.0f} s",
        f"more than {settings.body_timeout:.0f} s",
        f"slower than {settings.body_least_rate / 2**10:.0f} KiB/s",
        f'"expires_in":{settings.access_token_expire_minutes * 60:.0f},',
    ):
        assert number in text
    assert settings.stale_threshold == 3600, "the protocol says: nothing came for an hour"


# -- a device and a server


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A device with a token, and the whole server in this process."""
    folders = {f"{name}_dir": tmp_path / name for name in ("temp_upload", "perm_upload", "auth")}
    settings = plain_settings(secret_key=SECRET, admin_secret=SECRET, **folders)
    app = build_app(settings)
    token = TokenIssuer(settings).issue(DEVICE, ["files:read", "files:write"]).encoded
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://files.example",
            headers={"Authorization": f"Bearer {token}"},
        ) as client,
    ):
        yield client


async def test_the_server_answers_every_test_vector_as_it_says(device: httpx.AsyncClient) -> None:
    for case in VECTORS:
        body, expected = bytes.fromhex(case["body"]), dict(case["answer"])
        answer = await device.post(f"/upload?{case['query']}", content=body, headers=case["headers"])
        assert answer.status_code == expected.pop("status"), case["name"]
        assert answer.json() | expected == answer.json(), case["name"]


# -- transcripts


class Exchange(NamedTuple):
    """A request and its answer, as the page shows them."""

    request: str
    answer: str


def exchanges(section: str) -> Iterator[Exchange]:
    text = PROTOCOL.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```http\n(.*?)```", text, re.DOTALL)
    assert blocks
    yield from map(Exchange, blocks[::2], blocks[1::2])


def parsed(message: str) -> tuple[str, dict[str, str], str]:
    """First line, headers and body of an HTTP message."""
    head, _, body = message.partition("\n\n")
    first, *fields = head.splitlines()
    return first, dict(field.split(": ", 1) for field in fields), body


async def replay(device: httpx.AsyncClient, exchange: Exchange) -> httpx.Response:
    line, headers, body = parsed(exchange.request)
    method, target, _ = line.split(" ")
    del headers["Authorization"]
    async with asyncio.timeout(10):
        while True:
            answer = await device.request(method, target, headers=headers, content=bytes.fromhex(body))
            wanted = '"status":"complete"'
            if wanted not in exchange.answer or wanted in answer.text:
                return answer
            await asyncio.sleep(0.01)


def comparable(body: str) -> dict[str, Any]:
    """A JSON body without what differs in each run."""
    members: dict[str, Any] = json.loads(body or "{}")
    for name in ("last_updated", "parks_at", "version"):
        members.pop(name, None)
    return members


@pytest.mark.parametrize("section", ["A worked resume", "Cancel"])
async def test_the_transcripts_are_what_a_server_answers(device: httpx.AsyncClient, section: str) -> None:
    session: tuple[str, str] | None = None  # as on the page, and here
    for exchange in exchanges(section):
        shown = Exchange(*(part.replace(*session) for part in exchange)) if session else exchange
        answer = await replay(device, shown)
        if session is None:
            session = (SESSION_ID.findall(exchange.answer)[0], answer.json()["session"])
            shown = Exchange(*(part.replace(*session) for part in exchange))
        line, headers, body = parsed(shown.answer)
        assert f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}" == line
        assert answer.headers.items() >= {name.lower(): value for name, value in headers.items()}.items()
        assert comparable(answer.text) == comparable(body)


# -- the C function

MAIN = """
#include <stdio.h>

int main(void)  /* start, length and payload in; header out, or nothing if there is none */
{
    static uint8_t payload[1 << 16], header[9];
    unsigned long long start, length;
    while (scanf("%llu %llu ", &start, &length) == 2) {
        if (fread(payload, 1, length, stdin) != length)
            return 1;
        if (hiper_header(header, start, payload, length) == 0)
            for (int i = 0; i < 9; i++)
                printf("%02x", header[i]);
        puts("");
    }
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_c_function_makes_the_headers_of_the_test_vectors(tmp_path: Path) -> None:
    found = re.search(r"```c\n(.*?)```", PROTOCOL, re.DOTALL)
    assert found
    (tmp_path / "header.c").write_text(found[1] + MAIN)
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run(["gcc", *strict, "-o", "header", "header.c"], cwd=tmp_path, check=True)
    cases = [case for case in VECTORS if case.get("payload") and not case["headers"]]
    beyond = (2**32 - 1, b"ab")
    chunks = [(case["start"], bytes.fromhex(case["payload"])) for case in cases] + [beyond, (0, b"")]
    told = b"".join(b"%d %d %s\n" % (start, len(payload), payload) for start, payload in chunks)
    printed = subprocess.run([tmp_path / "header"], input=told, capture_output=True, check=True).stdout.decode()
    assert printed.splitlines() == [case["body"][:18] for case in cases] + ["", ""]


# -- the session in the README


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_the_session_of_the_readme_can_be_pasted(tmp_path: Path) -> None:
    blocks = re.findall(r"<!-- session -->\n```sh\n(.*?)```\n<!-- end -->", README, re.DOTALL)
    assert len(blocks) == 2
    server = Process("services.embedded.serve", {}, tmp_path / "serve.log")
    script = "\n".join(blocks).replace("http://127.0.0.1:8000", server.url)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    with running({"serve": server}):
        bash = ["bash", "-euo", "pipefail", "-c", script]
        ran = subprocess.run(bash, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *_, equal, first, status, second, part = ran.stdout.splitlines()
    assert equal == "equal"
    assert json.loads(first)["next_expected_byte"] == 5
    assert json.loads(status)["missing_ranges"] == [[5, 12]]
    assert json.loads(second)["next_expected_byte"] == 12
    assert part == "world"


# -- links and pages


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_decisions_are_numbered_and_short() -> None:
    for number, page in enumerate(DECISIONS, start=1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number}. ")
        if "*Superseded by [" in text:
            assert len(text.splitlines()) == 3
            continue
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert len(text.splitlines()) < 45
