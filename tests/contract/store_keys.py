"""Keys that are hard on a store."""

from hypothesis import strategies as st

HOSTILE_KEYS = [
    "files/vin-1/with spaces and+plus.bin",
    "files/vin-1/100%25 %41%2F.bin",
    "files/vin-1/a?b=c&d#e;f.bin",
    "files/vin-1/quotes \"double\" 'single' `back`.bin",
    "files/vin-1/<tag>&amp;]]>.bin",
    "files/vin-1/back\\slash:colon*star|pipe~tilde.bin",
    "files/vin-1/ leading and trailing ",
    "files/vin-1/...dots... ",
    "files/vin-1/umläut-日本語-😀.bin",
    "files/vin-1/e\u0301 is not \u00e9",
    "files/vin-1/bidi\u202eand\u200bzero-width\u2028line",
    "files/vin-1/tab\tnewline\nreturn\rescape\x1b",
    "files/vin-1/not in XML \x01\ufffe\uffff",
    "files/vin-1/" + "x" * 254,
    "files/vin-1/" + "é" * 127,
    "files/vin-1/ ",
    ".hidden/file",
    "-rf/--help",
]

REFUSED_KEYS = [
    *("", "/", "/a", "a/", "a//b"),
    *(".", "..", "a/../b", "../a", "a/./b", "a/ .. /b"),
    *("nul\0", "lone\ud800", "é" * 128, "x/" * 512 + "x"),
    *(".hiper", ".hiper/tmp/x"),
]

_segments = st.text("ab-./0 é\uffff😀", min_size=1, max_size=3).map(lambda text: text.replace("/", "c"))


def utf8(key: str) -> bytes:
    return key.encode()


def prefixes(key: str) -> list[str]:
    """Every prefix of a key that can be listed, the shortest first."""
    cut = (key[:end] for end in range(len(key) + 1))
    return [prefix for prefix in cut if prefix.rpartition("/")[2].strip() not in (".", "..")]


@st.composite
def key_sets(draw: st.DrawFn) -> list[str]:
    """Different keys of which none is a folder of another. The characters are those that sort around a slash."""
    keys: list[str] = []
    for segments in draw(st.lists(st.lists(_segments, min_size=1, max_size=3), min_size=1, max_size=12)):
        if any(segment.strip() in (".", "..") for segment in segments):
            continue
        key = "/".join(segments)
        if not any(f"{key}/".startswith(f"{other}/") or f"{other}/".startswith(f"{key}/") for other in keys):
            keys.append(key)
    return keys or ["a"]
