"""What the API document says of several routes alike: of parameters that the routes check themselves, with problems of
their own, and of problems."""

from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic.json_schema import SkipJsonSchema

from libs.common.files.labels import KEY, MAX_LABELS, VALUE
from libs.common.files.names import MAX_FILENAME_BYTES, SUBJECT
from libs.common.problems import Kind

COMMON = (  # the problems of every request that needs a token
    Kind.BAD_REQUEST,
    Kind.UNAUTHORIZED,
    Kind.FORBIDDEN,
    Kind.TOO_MANY_REQUESTS,
    Kind.NOT_READY,
    Kind.STORE_UNAVAILABLE,
)
OF_A_FILE = (*COMMON, Kind.BAD_FILENAME, Kind.NOT_FOUND, Kind.REJECTED)
Absent = SkipJsonSchema[None]  # a parameter that may be left out; but no request can hold a null
_NAME = r"^[^\\\u0000-\u001f\u007f-\u009f]+$"
_DIGESTS = r"^\s*[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/=]*:\s*(,\s*[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/=]*:\s*)*$"
_FILENAME: dict[str, Any] = {
    "description": "The file's name: segments of 1 to 255 bytes of UTF-8 in NFC, joined by `/`, at most 850 bytes.",
    "json_schema_extra": {"minLength": 1, "maxLength": MAX_FILENAME_BYTES, "pattern": _NAME},
}

FilenamePath = Annotated[str, Path(**_FILENAME)]
FilenameQuery = Annotated[str, Query(**_FILENAME)]
TotalSize = Annotated[
    str | Absent,
    Query(
        description="Size of the whole file in bytes. It may be left out where Content-Range has it, or says that it "
        "is not known yet.",
        json_schema_extra={"pattern": "^[0-9]{1,30}$"},
    ),
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
        description="`bytes a-b/total`: the raw form; `bytes a-b/*` while the total size is not known, and `bytes "
        "*/total` with an empty body to tell it.",
        json_schema_extra={"pattern": r"^bytes ([0-9]{1,19}-[0-9]{1,19}/([0-9]{1,19}|\*)|\*/[0-9]{1,19})$"},
    ),
]
ContentDigest = Annotated[
    str | None, Header(description="RFC 9530 digest of this body.", json_schema_extra={"pattern": _DIGESTS})
]
ReprDigest = Annotated[
    str | None, Header(description="RFC 9530 sha-256 of the whole file.", json_schema_extra={"pattern": _DIGESTS})
]
HiperLabel = Annotated[
    list[str] | Absent,
    Header(
        description="`key=value`, up to 10, in one field or in several: kept with the file. Those of its first chunk "
        "count.",
        json_schema_extra={"items": {"type": "string", "pattern": f"^{KEY}={VALUE}$"}, "maxItems": MAX_LABELS},
    ),
]
IfMatch = Annotated[str | Absent, Header(description="The session that the request is about.")]
