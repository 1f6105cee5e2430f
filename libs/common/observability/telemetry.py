"""Logs: structlog for everything, the standard library's loggers (uvicorn's too) routed through it."""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from io import StringIO, TextIOWrapper
from logging.handlers import WatchedFileHandler
from textwrap import indent
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from libs.common.observability.redaction import HIDDEN_NAMES, MASK, forms, printable, redact
from libs.common.security.audit_trail import LOGGER
from libs.common.settings import ConfigurationError, Settings

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)

_SECRET_NAME = re.compile(rf"(^|[_-])({HIDDEN_NAMES})$", re.IGNORECASE)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of keys whose names say that they are secret, at any depth of dicts."""
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: str, value: Any) -> Any:
    if _SECRET_NAME.search(key):
        return MASK
    if isinstance(value, dict):
        return {inner: _masked(str(inner), content) for inner, content in value.items()}
    if isinstance(value, list | tuple) and key != "exc_info":  # of which a tuple alone is printed as a traceback
        return [_masked("", item) for item in value]
    return value


def _drop_color_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """uvicorn repeats its messages in this key, with escape codes."""
    event.pop("color_message", None)
    return event


def escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What a client sends must not act on the terminal of whoever reads. Tracebacks and stacks have lines."""
    lined = {"exc_info", "stack"}
    return {printable(key): value if key in lined else _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(value if isinstance(value, str) else repr(value))  # some objects show what they hold as it is


class Redactor:
    """The last step of a line: takes out secrets, those of the settings and what looks like one."""

    def __init__(self, settings: Settings) -> None:
        values = (getattr(settings, name) for name in Settings.model_fields)
        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        passwords = [urlsplit(secret).password or "" for secret in secrets if "://" in secret]
        plain = [secret for secret in secrets if "://" not in secret]
        self._secrets = forms([*plain, *passwords, *map(unquote, passwords)])

    def __call__(self, _logger: WrappedLogger, _method: str, line: Any) -> str:
        return redact(line, self._secrets)


def say(text: str, log_format: str, level: str = "info") -> None:
    """A line on standard error for whoever starts the process: an object where log lines are JSON."""
    if log_format == "json":
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        text = json.dumps({"event": text, "level": level, "timestamp": now})
    print(text, file=sys.stderr)


def configure_logging(settings: Settings) -> None:
    """Send every log line of the process to standard error, as LOG_FORMAT, from LOG_LEVEL on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        mask_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared[:3], structlog.stdlib.ExtraAdder(), *shared[3:]],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_color_message,
            *_renderers(settings),
            Redactor(settings),
        ],
    )
    _route_standard_library(formatter, settings.log_level)
    _route_audit_trail(formatter, settings.audit_log)
    sys.excepthook = _log_uncaught


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        log.critical("the process ends", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _renderers(settings: Settings) -> list[Processor]:
    # Tracebacks are printed without local variables, which may hold secrets: structlog's default shows them.
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        escape_controls,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback),
    ]


def _plain_traceback(sio: TextIO, exc_info: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    sio.write(indent(printable(text.getvalue(), keep="\n"), "  "))  # no line of it can pass for one of the log


def _route_standard_library(formatter: logging.Formatter, level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # libs.common.web logs each request once, with its route and id; uvicorn would log query strings too.
    logging.getLogger("uvicorn.access").disabled = True


def _route_audit_trail(formatter: logging.Formatter, place: str) -> None:
    """LOG_LEVEL does not count for it. Raises ConfigurationError for a file that cannot be written."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = not place
    if place:
        try:
            handler = logging.StreamHandler(sys.stdout) if place == "stdout" else _PrivateFile(place, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"AUDIT_LOG: {place} cannot be written: {error.strerror}") from error
        handler.setFormatter(formatter)
        logger.addHandler(handler)


class _PrivateFile(WatchedFileHandler):
    """For its owner only (0600), and opened again after a rotation."""

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, opener=private)  # takes no opener
