"""What orchestrators and Prometheus ask of a process."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import REGISTRY

from libs.common.problems import Kind, Problem
from libs.common.web.errors import problem_responses

READY = Gauge("hiper_ready", "Whether the process has what it needs: 1, or 0 while it waits for it.", ["need"])


def probes(ready: Callable[[], Mapping[str, bool]], metrics_elsewhere: bool) -> APIRouter:
    """`metrics_elsewhere`: whether clients that read the document find /metrics on another port."""
    router = APIRouter(tags=["operations"])

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """The process answers. It says nothing of what it depends on: restarting would not help that."""
        return "ok"

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_class=PlainTextResponse, responses=problem_responses(Kind.NOT_READY))
    async def readyz() -> str:
        """The process can serve requests now."""
        missing = sorted(name for name, there in ready().items() if not there)
        if missing:
            raise Problem(Kind.NOT_READY, f"Waiting for: {', '.join(missing)}", missing=missing)
        return "ok"

    @router.get("/metrics", response_class=PlainTextResponse, include_in_schema=not metrics_elsewhere)
    async def metrics(request: Request) -> Response:
        """Prometheus metrics."""
        READY.clear()
        for need, there in ready().items():
            READY.labels(need).set(there)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    return router
