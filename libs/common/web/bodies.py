"""Reads request bodies, none longer than it needs to be, and only once a route asks for it."""

import asyncio
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from libs.common.problems import Kind, Problem

M = TypeVar("M", bound=BaseModel)
MAX_BODY = 8 * 1024  # bytes


async def read_body(request: Request, within: float, most: int = MAX_BODY) -> bytes:
    """The whole body: at most so many bytes, within so many seconds. Raises Problem TOO_LARGE and TIMEOUT."""
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for block in request.stream():
                body += block
                if len(body) > most:
                    raise Problem(Kind.TOO_LARGE, f"Send at most {most} bytes", limited="body", limit=most)
    except TimeoutError:
        detail = f"The body was not whole after {within:g} seconds. Nothing was done: try again."
        raise Problem(Kind.TIMEOUT, detail, headers={"Connection": "close"}) from None
    return bytes(body)


async def read_json(request: Request, model: type[M], within: float, most: int = MAX_BODY) -> M:
    """As FastAPI reads body parameters; but it does so before it knows who asks, and however long they are.
    Raises RequestValidationError, and what `read_body` raises."""
    try:
        return model.model_validate_json(await read_body(request, within, most))
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from error
