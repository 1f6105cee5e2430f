"""What the API document says of parameters that the routes check themselves, with problems of their own."""

from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic.json_schema import SkipJsonSchema

from libs.common.names import SUBJECT

Absent = SkipJsonSchema[None]  # a parameter that may be left out; but no request can hold a null
_NAME = r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"
_DIGESTS = r"^\s*[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/=]*:\s*(,\s*[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/=]*:\s*)*$"
_FILENAME: dict[str, Any] = {
    "description": "The file's name: 1 to 255 bytes of UTF-8 in NFC.",
    "json_schema_extra": {"minLength": 1, "maxLength": 255, "pattern": _NAME},
}

FilenamePath = Annotated[str, Path(**_FILENAME)]
FilenameQuery = Annotated[str, Query(**_FILENAME)]
TotalSize = Annotated[
    str, Query(description="Size of the whole file in bytes.", json_schema_extra={"pattern": "^[0-9]{1,30}$"})
]
OwnerQuery = Annotated[
    str | Absent,
    Query(
        description="Whose file: a device id, or `fleet` for what is published to all. Default: the caller's own.",
        json_schema_extra={"pattern": f"^{SUBJECT}$"},
    ),
]
ContentRange = Annotated[
    str | Absent,
    Header(
        description="`bytes a-b/total`: the raw form.",
        json_schema_extra={"pattern": r"^bytes ([0-9]{1,19}-[0-9]{1,19}/[0-9]{1,19}|\*/0)$"},
    ),
]
ContentDigest = Annotated[
    str | None, Header(description="RFC 9530 digest of this body.", json_schema_extra={"pattern": _DIGESTS})
]
ReprDigest = Annotated[
    str | None, Header(description="RFC 9530 sha-256 of the whole file.", json_schema_extra={"pattern": _DIGESTS})
]
IfMatch = Annotated[str | Absent, Header(description="The session that the request is about.")]
