"""Swagger UI at /docs: from the package, for fleets run where no CDN is reached, and within what its policy allows."""

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS, DOCUMENT, FILES = "/docs", "/openapi.json", "/static-offline-docs"
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    """Swagger UI of the application, whose OpenAPI document must be at DOCUMENT."""
    files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(FILES, StaticFiles(directory=files), name="docs-files")

    @app.get(DOCS, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{DOCUMENT}",
            title=app.title,
            swagger_js_url=f"{root}{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{FILES}/favicon.png",
        )
        page.headers.update(_protection(bytes(page.body).decode()))
        return page


def _protection(html: str) -> dict[str, str]:
    """Nothing is loaded from elsewhere, no page may frame this one, and no script runs but those that are in it now
    (https://www.w3.org/TR/CSP3/)."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in _INLINE.findall(html)]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)]),
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Frame-Options": "DENY",  # for browsers before CSP 2
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
