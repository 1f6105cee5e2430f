"""docs/asyncapi.yaml says of the events what the code says, in the shape that AsyncAPI 3.0 asks for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from libs.common.bus._topology import Topology
from libs.common.bus.events import ASSEMBLER_TYPES, EVENT_TYPES, EVENTS, PROGRESS, type_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
API: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = API["components"]["messages"]
TOPOLOGY = Topology()
NAME = "^[\\w\\d.\\-_]+$"
REFERENCE = {
    "type": "object",
    "required": ["$ref"],
    "properties": {"$ref": {"type": "string"}},
    "additionalProperties": False,
}
# The essentials of https://www.asyncapi.com/docs/reference/specification/v3.0.0, strict about names of fields.
ASYNCAPI_3: dict[str, Any] = {
    "type": "object",
    "required": ["asyncapi", "info"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "info": {
            "type": "object",
            "required": ["title", "version"],
            "additionalProperties": False,
            "properties": {
                "title": {"type": "string"},
                "version": {"type": "string"},
                "description": {"type": "string"},
                "license": {"type": "object", "required": ["name"]},
            },
        },
        "defaultContentType": {"type": "string"},
        "servers": {
            "patternProperties": {NAME: {"type": "object", "required": ["host", "protocol"]}},
            "additionalProperties": False,
        },
        "channels": {
            "patternProperties": {
                NAME: {
                    "type": "object",
                    "required": ["address", "messages", "bindings"],
                    "additionalProperties": False,
                    "properties": {
                        "address": {"type": "string"},
                        "description": {"type": "string"},
                        "messages": {"patternProperties": {NAME: REFERENCE}, "additionalProperties": False},
                        "bindings": {"type": "object"},
                    },
                }
            },
            "additionalProperties": False,
        },
        "operations": {
            "patternProperties": {
                NAME: {
                    "type": "object",
                    "required": ["action", "channel", "tags"],
                    "additionalProperties": False,
                    "properties": {
                        "action": {"enum": ["send", "receive"]},
                        "channel": REFERENCE,
                        "tags": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                        "bindings": {"type": "object"},
                    },
                }
            },
            "additionalProperties": False,
        },
        "components": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "messages": {
                    "patternProperties": {
                        NAME: {
                            "type": "object",
                            "required": ["name", "title", "contentType", "payload", "examples"],
                            "additionalProperties": False,
                            "properties": {
                                "name": {"type": "string"},
                                "title": {"type": "string"},
                                "contentType": {"const": "application/cloudevents+json"},
                                "payload": REFERENCE,
                                "examples": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {"required": ["payload"]},
                                },
                            },
                        }
                    },
                    "additionalProperties": False,
                },
                "channelBindings": {"type": "object"},
                "operationBindings": {"type": "object"},
            },
        },
    },
}


def resolve(reference: str) -> Any:
    """What a `$ref` points to: a place in this document, or a file beside it."""
    if not reference.startswith("#/"):
        return json.loads((DOCUMENT.parent / reference).read_text(encoding="utf-8"))
    place: Any = API
    for step in reference[2:].split("/"):
        place = place[step]
    return place


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def amqp(node: dict[str, Any]) -> dict[str, Any]:
    """The AMQP binding of a channel or an operation."""
    bindings = node["bindings"]
    found: dict[str, Any] = (resolve(bindings["$ref"]) if "$ref" in bindings else bindings)["amqp"]
    return found


def message_types(channel: dict[str, Any]) -> set[str]:
    return {resolve(message["$ref"])["name"] for message in channel["messages"].values()}


def operations(action: str) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(name, service, operation, channel) of each."""
    for name, operation in API["operations"].items():
        if operation["action"] == action:
            (tag,) = operation["tags"]
            yield name, tag["name"], operation, resolve(operation["channel"]["$ref"])


def test_the_document_has_the_structure_of_asyncapi_3() -> None:
    Draft202012Validator(ASYNCAPI_3).validate(API)


def test_every_reference_leads_somewhere() -> None:
    found = list(references(API))
    assert found
    for reference in found:
        assert resolve(reference)


def test_every_component_is_referred_to() -> None:
    used = set(references(API))
    for kind, components in API["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in used


def test_the_document_and_the_code_name_the_same_events() -> None:
    assert [message["name"] for message in MESSAGES.values()] == [type_of(event) for event in EVENT_TYPES]
    assert list(MESSAGES) == [event.__name__ for event in EVENT_TYPES]


def test_each_payload_is_the_schema_of_its_event() -> None:
    for message in MESSAGES.values():
        assert message["payload"]["$ref"] == f"schemas/events/{message['name']}.json"
        assert resolve(message["payload"]["$ref"])["properties"]["type"]["const"] == message["name"]


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_an_example_fits_its_schema_and_is_an_event(message: dict[str, Any]) -> None:
    for example in message["examples"]:
        Draft202012Validator(resolve(message["payload"]["$ref"])).validate(example["payload"])
        event = EVENTS.validate_python(example["payload"])
        assert event.type == message["name"]
        assert event.subject == "/".join(event.data.file)


def senders() -> dict[str, set[str]]:
    """The services that send each event."""
    found: dict[str, set[str]] = {}
    for _, service, _, channel in operations("send"):
        (sent,) = message_types(channel)
        found.setdefault(sent, set()).add(service)
    return found


def test_each_operation_is_named_by_its_service_and_its_event() -> None:
    for name, service, _, channel in operations("send"):
        (sent,) = message_types(channel)
        below = channel["address"].removeprefix(sent).removeprefix(".").title()
        assert name == f"{service}Sends{sent.split('.')[1]}{below}"


def test_each_event_is_sent_by_the_services_that_its_class_names() -> None:
    docstrings = {type_of(event): (event.__doc__ or "").partition(":")[0].lower() for event in EVENT_TYPES}
    assert senders() == {event: set(services.split(", ")) for event, services in docstrings.items()}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_the_source_in_an_example_is_a_sender_of_it(message: dict[str, Any]) -> None:
    assert message["examples"][0]["payload"]["source"].removeprefix("/hiper/") in senders()[message["name"]]


def test_the_assembler_receives_exactly_what_is_for_it() -> None:
    ((_, service, _, channel),) = operations("receive")
    assert service == "assembler"
    assert message_types(channel) == set(ASSEMBLER_TYPES)


def test_events_for_the_assembler_are_mandatory_and_the_others_are_not() -> None:
    for _, _, operation, channel in operations("send"):
        (sent,) = message_types(channel)
        assert amqp(operation)["mandatory"] == (sent in ASSEMBLER_TYPES and channel["address"] == sent)
        assert amqp(operation)["deliveryMode"] == 2, "persistent"


def test_events_travel_by_their_type_over_the_exchange_that_the_bus_declares() -> None:
    for _, _, _, channel in operations("send"):
        assert {channel["address"].removesuffix(f".{PROGRESS}")} == message_types(channel)
        assert amqp(channel)["is"] == "routingKey"
        exchange = {"name": TOPOLOGY.exchange, "type": "topic", "durable": True, "autoDelete": False}
        assert amqp(channel)["exchange"] == exchange


@pytest.mark.parametrize(("channel", "queue"), [("assembler", TOPOLOGY.queue), ("deadLetters", TOPOLOGY.dead_queue)])
def test_the_queues_are_those_that_the_bus_declares(channel: str, queue: str) -> None:
    described = API["channels"][channel]
    assert described["address"] == queue
    assert amqp(described)["is"] == "queue"
    assert amqp(described)["queue"]["name"] == queue
    assert message_types(described) == set(ASSEMBLER_TYPES)


def test_the_prose_names_what_the_bus_declares() -> None:
    assert f"`{TOPOLOGY.exchange}`" in API["info"]["description"]
    assert f"delivery limit ({TOPOLOGY.delivery_limit})" in API["channels"]["assembler"]["description"]
    assert f"`{TOPOLOGY.dead_exchange}`" in API["channels"]["deadLetters"]["description"]
