"""The events are CloudEvents 1.0.2, and a closed set."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import AwareDatetime, BaseModel, ValidationError

from libs.common.bus.events import (
    ASSEMBLER_TYPES,
    EVENT_TYPES,
    EVENTS,
    ChunkReceived,
    ChunkReceivedData,
    Event,
    FileCompleted,
    FileCompletedData,
    routing_key,
    subject,
    type_of,
)
from libs.common.uploads.layout import FileId
from scripts.generate_schemas import FOLDER, schemas

REQUIRED = {"id", "source", "specversion", "type"}  # CloudEvents 1.0.2, section 3.1
# Section 3.1: attribute names are lower-case letters and digits.
ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
VALIDATORS = {name: Draft202012Validator(json.loads(text)) for name, text in schemas().items()}

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001  # hypothesis wants bounds without a zone
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    int: st.integers(0, 2**63),
    AwareDatetime: moments,
    type(None): st.none(),
    list: st.lists(st.integers(0, 9999)),
    dict: st.dictionaries(st.text("abc-", min_size=1), st.text("abc ")),
}


def instances(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any instance of a model of this module."""
    return st.builds(model, **{name: values(field.annotation) for name, field in model.model_fields.items()})


def values(annotation: Any) -> st.SearchStrategy[Any]:
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if get_origin(annotation) is UnionType:
        return st.one_of([values(each) for each in get_args(annotation)])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return instances(annotation)
    return VALUES[get_origin(annotation) or annotation]


events = st.one_of(*(instances(event) for event in EVENT_TYPES))


def example(**fields: Any) -> FileCompleted:
    file = FileId("car-7", "log.bin")
    data = FileCompletedData(owner=file.owner, filename=file.filename, session="42-a", total_size=42)
    return FileCompleted(source="/hiper/test", subject=subject(file), data=data, **fields)


@given(events)
def test_an_event_comes_back_from_json_equal(event: Event) -> None:
    back = EVENTS.validate_json(event.model_dump_json())
    assert back == event
    assert type(back) is type(event)


@given(events)
def test_an_event_in_json_fits_its_published_schema(event: Event) -> None:
    VALIDATORS[f"{event.type}.json"].validate(json.loads(event.model_dump_json()))


@given(events)
def test_every_event_has_the_required_attributes_with_lawful_names(event: Event) -> None:
    attributes = json.loads(event.model_dump_json())
    assert attributes.keys() >= REQUIRED
    assert all(attributes[name] for name in REQUIRED)
    assert all(ATTRIBUTE.fullmatch(name) for name in attributes)
    assert attributes["specversion"] == "1.0"


@given(moments)
def test_the_time_is_rfc_3339_with_its_offset(moment: datetime) -> None:
    written = json.loads(example(time=moment).model_dump_json())["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", written)


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        example(time=datetime(2026, 1, 1))  # noqa: DTZ001  # the point of the test


def test_a_new_event_is_of_now_and_has_an_id_of_its_own() -> None:
    one, other = example(), example()
    assert one.id != other.id
    assert abs(datetime.now(UTC) - one.time) < timedelta(seconds=5)


@pytest.mark.parametrize("attribute", ["id", "source", "subject"])
def test_an_empty_attribute_is_refused(attribute: str) -> None:
    broken = {**json.loads(example().model_dump_json()), attribute: ""}
    with pytest.raises(ValidationError, match=attribute):
        EVENTS.validate_python(broken)


@pytest.mark.parametrize("unheard", ["hiper.FileCompleted.v2", "FileCompleted", ""])
def test_a_type_outside_the_set_is_refused(unheard: str) -> None:
    with pytest.raises(ValidationError, match="type"):
        EVENTS.validate_json(json.dumps({**json.loads(example().model_dump_json()), "type": unheard}))


def test_another_version_of_cloudevents_is_refused() -> None:
    with pytest.raises(ValidationError, match="specversion"):
        EVENTS.validate_python({**json.loads(example().model_dump_json()), "specversion": "0.3"})


def test_fields_that_are_not_known_are_ignored() -> None:
    event = example()
    newer = json.loads(event.model_dump_json())
    newer["tracestate"] = "rojo=00f067aa0ba902b7"
    newer["data"]["media_type"] = "video/mp4"
    assert EVENTS.validate_json(json.dumps(newer)) == event


def test_negative_parts_are_refused() -> None:
    with pytest.raises(ValidationError, match="filled_parts"):
        ChunkReceivedData(owner="a", filename="b", session="1-a", start=0, length=1, offset=1, filled_parts=[-1])


def test_types_are_versioned_and_distinct() -> None:
    types = [type_of(event) for event in EVENT_TYPES]
    assert len(set(types)) == len(types)
    for event, name in zip(EVENT_TYPES, types, strict=True):
        assert re.fullmatch(rf"hiper\.{event.__name__}\.v\d+", name)


def test_the_assembler_is_sent_four_of_them() -> None:
    assert {name.split(".")[1] for name in ASSEMBLER_TYPES} == {
        "ChunkReceived",
        "SessionCancelled",
        "SessionStalled",
        "SessionStale",
    }
    assert type_of(ChunkReceived) in ASSEMBLER_TYPES


@pytest.mark.parametrize(
    ("offset", "filled", "key"),
    [
        (4, [], "hiper.ChunkReceived.v1.progress"),
        (4, [3], "hiper.ChunkReceived.v1"),
        (10, [], "hiper.ChunkReceived.v1"),
    ],
    ids=["fills nothing", "fills a part behind a gap", "is the last"],
)
def test_a_chunk_that_the_assembler_need_not_hear_of_has_a_key_of_its_own(
    offset: int, filled: list[int], key: str
) -> None:
    about = {"owner": "a", "filename": "b", "session": "a1"}
    data = ChunkReceivedData(**about, start=0, length=4, offset=offset, total_size=10, filled_parts=filled)
    event = ChunkReceived(source="/hiper/ingest", subject="a/b", data=data)
    assert routing_key(event) == key
    assert event.wakes_assembler == (key == event.type)


def test_all_other_events_are_routed_by_their_type() -> None:
    event = example()
    assert routing_key(event) == event.type


def test_the_data_names_the_file() -> None:
    assert example().data.file == FileId("car-7", "log.bin")
    assert subject(example().data.file) == "car-7/log.bin"


def test_the_schemas_in_docs_are_what_the_code_says() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert committed == schemas(), "run: python -m scripts.generate_schemas"


@pytest.mark.parametrize("text", schemas().values(), ids=schemas())
def test_a_schema_is_valid_and_requires_every_attribute(text: str) -> None:
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    assert set(schema["required"]) == set(schema["properties"]) - {"traceparent"} >= REQUIRED


def test_an_event_without_a_trace_does_not_speak_of_one() -> None:
    assert "traceparent" not in json.loads(example().model_dump_json())
