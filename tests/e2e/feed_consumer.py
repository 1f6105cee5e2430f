"""A consumer of the feed as its programmer would write it: it keeps what it read, then its cursor.

`python -m tests.e2e.feed_consumer API TOKEN DIRECTORY`: lines of events go to `events.jsonl`, the cursor to `cursor`.
It may be killed at any moment: at the next start it goes on where the cursor stands, and reads some events again.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIMIT = 7  # events of a page: few, so that a kill often falls between two pages
PAUSE = 0.2  # seconds between two looks when nothing more is there


def page(api: str, token: str, after: str) -> dict[str, Any]:
    query = urllib.parse.urlencode({"limit": LIMIT, **({"after": after} if after else {})})
    request = urllib.request.Request(f"{api}/feed?{query}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def consume(api: str, token: str, directory: Path) -> None:
    cursor, new = directory / "cursor", directory / "cursor.new"
    after = cursor.read_text() if cursor.exists() else ""
    with (directory / "events.jsonl").open("a") as events:
        events.write("\n")  # behind a line that a kill cut off
        while True:
            found = page(api, token, after)
            events.writelines(json.dumps(event) + "\n" for event in found["events"])
            events.flush()
            os.fsync(events.fileno())
            after = found["next"]
            new.write_text(after)
            new.replace(cursor)
            if not found["more"]:
                time.sleep(PAUSE)


if __name__ == "__main__":
    consume(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
