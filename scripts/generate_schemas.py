"""Write the JSON Schema of every event to docs/schemas/events: `python -m scripts.generate_schemas`."""

import json
from pathlib import Path

from libs.common.bus.events import EVENT_TYPES, type_of

FOLDER = Path(__file__).parents[1] / "docs" / "schemas" / "events"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """File name to contents. What is published always carries every attribute: all of them are required."""
    return {
        f"{type_of(event)}.json": json.dumps(
            {"$schema": DIALECT, **event.model_json_schema(mode="serialization")}, indent=2
        )
        + "\n"
        for event in EVENT_TYPES
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
