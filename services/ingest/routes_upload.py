"""POST /upload: the way of a chunk, from the headers to the acknowledgement.

It is the one request that devices send all the time. So the route reads the head itself, by `upload_head`: with FastAPI
that was a quarter of ingest's work for a small chunk.
"""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.common.files.pins import Pin, etag
from libs.common.security.authn import bearer
from libs.common.security.tokens import Principal
from libs.common.uploads.layout import FileId
from libs.common.uploads.writing import Ack, Chunk
from libs.common.web.requests import Head
from libs.common.web.routes import NamedRoute
from services.ingest.access import entered, file_head, named
from services.ingest.bodies import Body
from services.ingest.gate import Visit
from services.ingest.metrics import RECEIVED
from services.ingest.models import UploadAnswer
from services.ingest.receive import Received
from services.ingest.state import ingest
from services.ingest.upload_head import read_upload_head


class Upload:
    """Answers a chunk. The request counts as under way until its answer is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        head = file_head(scope)
        caller = await bearer(request, head.field("authorization"))
        async with entered(request, caller) as visit:
            answer = await take(request, head, caller, visit)
            await answer(scope, receive, send)


async def take(request: Request, head: Head, caller: Principal, visit: Visit) -> Response:
    """Make the chunk durable. Raises Problem and StoreUnavailable: then nothing is acknowledged."""
    state = ingest(request)
    asked = read_upload_head(head, caller, state.settings.max_file_size)
    file = named(asked.file)
    admit = partial(state.quotas.admit, file, asked.least_size, visit.allowance)
    if asked.total_size is None or not state.writer.knows(file):
        await admit()

    async def store(received: Received, pin: Pin | None = None) -> Ack:
        RECEIVED.inc(received.payload.extent.length)
        chunk = Chunk(
            file,
            asked.total_size,
            received.payload,
            received.extent_digests,
            asked.whole,
            pin or asked.pin,
            asked.content_type,
            asked.labels,
            admit,
        )
        return await state.writer.write(chunk)

    body = Body(request, head, state, visit)
    if asked.claim is None:
        ack = await body.framed(asked.total_size or 0, asked.sent, store)
    elif asked.sent:
        ack = await body.raw(asked.claim, asked.sent, store)
    else:
        ack = await body.stream(asked.claim.extent, store)
    state.witness.stored(caller, file, ack.session)
    return acknowledgement(file, ack)


def acknowledgement(file: FileId, ack: Ack) -> Response:
    answer = UploadAnswer(
        filename=file.filename,
        owner=file.owner,
        status="complete" if ack.complete else "pending",
        next_expected_byte=ack.offset,
        total_size=ack.total_size,
        session=ack.session,
    )
    return Response(answer.model_dump_json(), headers={"ETag": etag(ack.session)}, media_type="application/json")


ROUTE = NamedRoute("/upload", Upload(), methods=["POST"])
