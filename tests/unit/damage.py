"""What may stand where a document of JSON should: by mistake, or by somebody who means it."""

DAMAGED = {
    "nothing": b"",
    "no JSON": b"no json",
    "half a document": b'{"car-7": 10',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a word": b'{"car-7": "soon"}',
    "a null": b'{"car-7": null}',
    "infinity": b'{"car-7": Infinity}',
    "a number beyond floats": b'{"car-7": 1e999}',
    "no number": b'{"car-7": NaN}',
    "a number of 5,000 digits": b'{"car-7": ' + b"9" * 5000 + b"}",
    "a number before time": b'{"car-7": -1}',
    "a nested value": b'{"car-7": {"second": 1}}',
    "deep nesting": b"[" * 200_000,
    "deep nesting in a value": b'{"car-7": ' + b"[" * 200_000,
    "binary": bytes(range(256)),
    "UTF-16": '{"car-7": 1000}'.encode("utf-16"),
    "half a character": b'{"\\ud800": 1000}',
}
