"""What a client does about each problem type: the column of docs/errors.md that the code does not need."""

from libs.common.problems import Kind

_AGAIN = "**Send the same chunk again**"
_ASK = "**Ask for the status**"
_STOP = "**Give up**"

ADVICE: dict[Kind, str] = {
    Kind.MALFORMED_CHUNK: f"{_AGAIN}, 3 times at most: it may have been cut on its way. Then the program is wrong.",
    Kind.CHECKSUM_MISMATCH: f"{_AGAIN}, 3 times at most: it was damaged on its way. Then the checksum is made wrong.",
    Kind.DIGEST_MISMATCH: f"{_AGAIN}, 3 times at most: it was damaged on its way. Then the digest is made wrong.",
    Kind.BAD_DIGEST: f"{_STOP}: the field cannot be read, or `Repr-Digest` has no sha-256.",
    Kind.BAD_RANGE: f"{_STOP}: start, end and total_size contradict one another.",
    Kind.CHUNK_TOO_SMALL: "Send chunks of at least `least` bytes from here on; what was acknowledged stays.",
    Kind.BAD_TOTAL_SIZE: f"{_STOP}: total_size is not a whole number of bytes.",
    Kind.OFFSET_TOO_LARGE: f"{_STOP} with the header form: a file over 4 GiB needs `Content-Range`.",
    Kind.BAD_LABEL: f"{_STOP}: the labels are too many, or one is not `key=value`; `detail` says which.",
    Kind.BAD_FILENAME: f"{_STOP}: choose another name; `detail` says what is wrong with this one.",
    Kind.BAD_REQUEST: f"{_STOP}: a parameter is missing or cannot be read; `detail` names it.",
    Kind.TOKEN_REQUEST: f"{_STOP}: `error` says which rule of RFC 6749, section 5.2, is broken.",
    Kind.INVALID_CLIENT: f"{_STOP}, or ask rarely (every 10 minutes): the device's secret is no longer valid.",
    Kind.UNAUTHORIZED: "**Get a new token** and send the request again. A new token that is refused too: give up.",
    Kind.FORBIDDEN: f"{_STOP}: the token lacks the scope, or the file is another device's.",
    Kind.NOT_FOUND: "Nothing is there. An upload that the device believed open was cancelled: start at byte 0.",
    Kind.DEVICE_NOT_FOUND: "Register it with `POST /devices`.",
    Kind.DEVICE_DAMAGED: "Wait, and ask again: an operator must restore the device's record, or register it anew.",
    Kind.WEBHOOK_NOT_FOUND: "Make it with `POST /webhooks`; `GET /webhooks` lists those that are there.",
    Kind.NO_ROUTE: f"{_STOP}: the address is wrong.",
    Kind.METHOD_NOT_ALLOWED: f"{_STOP}: the method is wrong.",
    Kind.TIMEOUT: f"{_AGAIN}, or a smaller one: the body came too slowly. Nothing of it is stored.",
    Kind.TOTAL_SIZE_CONFLICT: f"{_STOP}, or DELETE and start again: the name holds a file of `existing_total_size`.",
    Kind.CONTENT_CONFLICT: f"{_STOP}, or DELETE and start again: the file changed since its bytes were sent.",
    Kind.DIGEST_CONFLICT: f"{_STOP}, or DELETE and start again: the file changed since its digest was declared.",
    Kind.NAME_CONFLICT: f"{_STOP}: choose another name. No file is a folder of another: not `a` and `a/b`.",
    Kind.UPLOAD_INCOMPLETE: "Wait until the status is `complete`, or ask for a range of the first `next_expected_byte` "
    "bytes.",
    Kind.DEVICE_HAS_FILES: "Delete them with `DELETE /files?owner=ID` (`hiper device purge ID`), or choose another id.",
    Kind.DEVICE_EXISTS: "Choose another id, or renew its secret with `POST /devices/{device_id}/secret`.",
    Kind.REJECTED: "The bytes did not have the declared digest. Read the file anew, start at byte 0.",
    Kind.FEED_EXPIRED: "Go on with the cursor in `oldest`, and compare the files: outcomes between are lost to you.",
    Kind.PRECONDITION_FAILED: f"{_ASK}, and go on with the session that it names, or start one if it names none.",
    Kind.TOO_LARGE: "**Send smaller chunks**, of `limit` bytes at most. Where `limited` is `file`, the file is too "
    "large: give up.",
    Kind.RANGE_NOT_SATISFIABLE: "Nothing of that range is there: ask for the status.",
    Kind.TOO_MANY_REQUESTS: f"{_AGAIN} after `Retry-After`: the device is over its share ([limits](limits.md)), "
    "or, at `/token`, too many wrong secrets came from its address. Where `limit` is `streams`: too many streams "
    "and waits are open; end one, or ask without waiting.",
    Kind.TOO_MANY_UPLOADS: "Finish an upload that is open, or cancel it; then send the chunk again.",
    Kind.HEADERS_TOO_LARGE: f"{_STOP}: fewer and shorter headers, a shorter filename.",
    Kind.INTERNAL: f"{_AGAIN}, 3 times at most; then tell the operator the `X-Request-Id`.",
    Kind.CLOSING: f"{_AGAIN} after `Retry-After`.",
    Kind.BUSY: f"{_AGAIN} after `Retry-After`.",
    Kind.NOT_READY: f"{_AGAIN} after `Retry-After`: the service is starting.",
    Kind.STORE_UNAVAILABLE: f"{_AGAIN} after `Retry-After`: nothing is acknowledged, but it may have been stored.",
    Kind.QUOTA_EXCEEDED: f"{_STOP} until files are deleted (`detail` names large ones). Uploads that are open go on.",
    Kind.STORE_FULL: f"{_AGAIN} after `Retry-After`: it takes an operator to make room. Nothing is acknowledged, and "
    "nothing of what was is lost.",
}

# What POST /upload, GET /files/{filename}/status, DELETE and POST /token answer to a device.
DEVICE_KINDS = frozenset(
    Kind.__members__[name]
    for name in Kind.__members__.keys() - {"DEVICE_NOT_FOUND", "DEVICE_EXISTS", "DEVICE_HAS_FILES", "UPLOAD_INCOMPLETE",
                                           "RANGE_NOT_SATISFIABLE", "FEED_EXPIRED", "WEBHOOK_NOT_FOUND"}
)  # fmt: skip
