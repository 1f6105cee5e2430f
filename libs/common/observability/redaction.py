"""Takes out of text what must not be read there: secrets, and characters that a terminal acts on.

Patterns are linear: each has bounded or disjoint parts, for clients choose some of the text.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
HIDDEN_NAMES = "authorization|cookie|credentials?|passwd|password|secret|secret_key|private_key|signature|token"
_NESTED = 3  # literals within one another
_LEAST = 8  # characters of a secret that is looked for: shorter ones are words of other texts
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(://[^/?#\s@:\"']*):[^/?#\s@\"']*@"), rf"\1:{MASK}@"),  # the password in a URL
    (re.compile(r"://[^/?#\s@:\"']+@"), f"://{MASK}@"),  # a token in place of the user
    (re.compile(r"\beyJ[\w-]{10,}(?:\.[\w-]+){0,2}"), MASK),  # a JWT
    (re.compile(r"\b(bearer|basic) [\w.~+/=-]{20,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(rf"(?i)(?<![\w-])((?:[\w-]{{0,40}}[_-])?(?:{HIDDEN_NAMES})=)(?!\$)[^&\s\"'#]+"), rf"\1{MASK}"),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without what has the form of a secret, and without these secrets."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def forms(secrets: Iterable[str]) -> list[str]:
    """Secrets in the forms in which they may stand in a text, the longest first: as they are, percent-encoded, and in a
    literal of JSON or Python, or in one that another holds."""
    known = {secret for secret in secrets if len(secret) >= _LEAST}
    written = {form for secret in known for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))}
    for _ in range(_NESTED):
        written |= {escaped for form in written for escaped in _escaped(form)}
    return sorted(written, key=len, reverse=True)


def _escaped(text: str) -> tuple[str, ...]:
    """As literals show it: Python takes the quotation marks that the text does not hold."""
    both = "'\""
    return (
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        repr(both + text)[4:-1],
        repr(text.encode())[2:-1],
    )


def printable(text: str, keep: str = "") -> str:
    """The text with control and format characters as escapes, but those to keep."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
