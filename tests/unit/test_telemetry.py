"""Logs: one format for every line of the process, and no secrets in it."""

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog

from libs.common.observability.telemetry import configure_logging
from libs.common.security.audit import TokensRevoked
from libs.common.security.audit_trail import LOGGER, record
from libs.common.settings import ConfigurationError
from tests.unit.keyrings import plain_settings


@pytest.fixture(autouse=True)
def unchanged_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("uvicorn.access").disabled = False
    audit = logging.getLogger(LOGGER)
    for handler in audit.handlers[:]:
        audit.removeHandler(handler)
        handler.close()
    audit.propagate = True
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_structlog_and_the_standard_library_write_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings(log_format="json"))
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.stdlib.get_logger("hiper").info("stored", length=7)
    logging.getLogger("uvicorn.error").warning("%s left", "somebody", extra={"port": 8000, "color_message": "%s"})
    ours, theirs = lines(capsys.readouterr().err)
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "stored",
        "length": 7,
        "logger": "hiper",
        "level": "info",
        "request_id": "r-1",
    }
    assert "color_message" not in theirs
    assert theirs["event"] == "somebody left"
    assert (theirs["level"], theirs["logger"], theirs["port"]) == ("warning", "uvicorn.error", 8000)
    assert theirs["request_id"] == "r-1"


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings(log_format="json", log_level="WARNING"))
    structlog.stdlib.get_logger("hiper").info("quiet")
    logging.getLogger("other").info("quiet")
    assert capsys.readouterr().err == ""


def test_uvicorns_access_log_with_its_query_strings_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings())
    logging.getLogger("uvicorn.access").info("GET /files?token=abc")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_masked_at_any_depth(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(plain_settings(log_format=log_format))
    names = ["authorization", "client_secret", "secret", "password", "token", "access_token", "SECRET_KEY"]
    log = structlog.stdlib.get_logger("hiper")
    log.info("named", **dict.fromkeys(names, "hush"))
    log.info("nested", headers={"Authorization": "hush", "inner": {"Set-Cookie": "hush"}})
    logging.getLogger("other").info("extra", extra={"password": "hush"})
    written = capsys.readouterr().err
    assert "hush" not in written
    assert written.count("***") == len(names) + 3


def test_names_that_only_sound_secret_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings(log_format="json"))
    structlog.stdlib.get_logger("hiper").info("named", token_id="a", key="b", secrets=2)
    (line,) = lines(capsys.readouterr().err)
    assert (line["token_id"], line["key"], line["secrets"]) == ("a", "b", 2)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_do_not_show_local_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(plain_settings(log_format=log_format))
    hidden = "HUSH".lower()
    try:
        raise ValueError(len(hidden))
    except ValueError:
        structlog.stdlib.get_logger("hiper").exception("failed")
        logging.getLogger("other").exception("failed")
    written = capsys.readouterr().err
    assert written.count("ValueError: 4") == 2
    assert "hush" not in written


def test_the_audit_trail_is_marked_among_the_other_lines_whatever_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings(log_format="json", log_level="ERROR"))
    record(TokensRevoked(device="car-7"))
    (line,) = lines(capsys.readouterr().err)
    assert line.items() >= {"logger": "hiper.audit", "stream": "audit", "event": "tokens_revoked"}.items()


def test_the_audit_trail_goes_to_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(plain_settings(log_format="json", audit_log="stdout"))
    record(TokensRevoked(device="car-7"))
    structlog.stdlib.get_logger("hiper").info("another")
    written = capsys.readouterr()
    assert [line["event"] for line in lines(written.out)] == ["tokens_revoked"]
    assert [line["event"] for line in lines(written.err)] == ["another"]


def test_the_audit_trail_goes_to_a_file_that_can_be_rotated_and_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    configure_logging(plain_settings(log_format="json", audit_log=str(file)))
    record(TokensRevoked(device="car-7"))
    file.rename(tmp_path / "audit.log.1")
    record(TokensRevoked(device="car-8"))
    assert [[line["device"] for line in lines(f.read_text())] for f in (tmp_path / "audit.log.1", file)] == [
        ["car-7"],
        ["car-8"],
    ]
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}


def test_an_audit_trail_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"AUDIT_LOG: .*cannot be written: No such file or directory"):
        configure_logging(plain_settings(audit_log=str(tmp_path / "missing" / "audit.log")))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_values_in_the_audit_trail_are_bounded_and_escaped(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """Of JSON too, which `jq -r` and viewers of logs decode."""
    configure_logging(plain_settings(log_format=log_format))
    record(TokensRevoked(device="\x1b[2J\u202e"), "refused", "x" * 10_000)
    written = capsys.readouterr().err
    if log_format == "json":
        written = "".join(map(str, json.loads(written).values()))
    assert "\x1b[2J" not in written
    assert "\u202e" not in written
    assert "x" * 256 in written
    assert "x" * 257 not in written


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_secret_of_the_settings_is_in_no_line_however_it_got_there(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    secret = 'a "secret" with % and more than 32 bytes'
    url = "amqp://hiper:password-of-the-broker@broker/"
    configure_logging(plain_settings(log_format=log_format, admin_secret=secret, rabbitmq_url=url))
    log = structlog.stdlib.get_logger("hiper")
    log.info("said %s", secret, where=secret, url=f"https://host/?q={quote(secret)}", listed=[{"password": "hush"}])
    log.info("refused by password-of-the-broker")
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert "with %" not in written
    assert "with%20" not in written
    assert "password-of-the-broker" not in written
    assert "hush" not in written
    assert "Traceback" in written


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nor_is_one_of_odd_characters_however_a_line_writes_them(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    secret = "Gr\u00f6\u00dfe \\ \" ' & + of more than thirty-two bytes"
    url = "amqp://hiper:p%40ss%2Fword-of-the-broker@broker/"
    configure_logging(plain_settings(log_format=log_format, admin_secret=secret, rabbitmq_url=url))
    log = structlog.stdlib.get_logger("hiper")
    log.info("as it is", where=secret, listed=[secret], held={"a": {"b": secret}}, raw=secret.encode())
    log.info("quoted", once=repr(secret), twice=repr({"a": repr(secret)}), document=json.dumps({"a": secret}))
    log.info("encoded", form=quote_plus(secret), path=quote(secret), broker="p@ss/word-of-the-broker")
    try:
        raise RuntimeError(f"refused: {secret!r}")
    except RuntimeError:
        log.exception("failed")
    written = capsys.readouterr().err
    assert "thirty" not in written
    assert "word-of-the-broker" not in written
    assert "Traceback" in written


class Frank:
    """Shows what it holds as it is, as some libraries' objects do."""

    def __repr__(self) -> str:
        return HOSTILE


HOSTILE = "\x1b[2J\x9b31m\x07\u202e\udc80\r\n2026-01-01T00:00:00Z [info     ] forged"


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize(
    "fields",
    [{"a": HOSTILE}, {"a": [HOSTILE]}, {"a": {HOSTILE: 1}}, {"a": Frank()}, {HOSTILE: 1}],
    ids=["text", "list", "key of a dict", "object", "key"],
)
def test_no_field_of_a_line_acts_on_the_terminal_or_passes_for_another_line(
    capsys: pytest.CaptureFixture[str], log_format: str, fields: dict[str, Any]
) -> None:
    configure_logging(plain_settings(log_format=log_format))
    structlog.stdlib.get_logger("hiper").info("asked", **fields)
    structlog.stdlib.get_logger("hiper").info(HOSTILE)
    logging.getLogger("uvicorn.error").warning("asked for %s", HOSTILE)
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 3
    assert all(character.isprintable() or character == "\n" for character in written)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_nor_does_the_text_of_an_exception(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(plain_settings(log_format=log_format))
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        structlog.stdlib.get_logger("hiper").exception("failed")
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert all(character.isprintable() or character == "\n" for character in written)
    assert not any(line.startswith("2026-01-01") for line in written.splitlines())
