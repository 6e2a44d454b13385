"""The two pages, and the headers of every answer. Scripts and styles are built by `shop_streams.web.build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from shop_streams.settings import Settings
from shop_streams.web.bundles import DIST

PAGES = {"/": "items.html", "/docs": "docs.html"}
NOT_BUILT = "The pages are not built yet. Run `make setup`. The API works without them: see /openapi.json\n"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class SecurityHeaders:
    """Adds `HEADERS` to every answer of an ASGI application, also to errors."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BuiltFiles(StaticFiles):
    """The built scripts and styles. Browsers ask each time whether one has changed, because their names stay."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def add_pages(app: FastAPI, settings: Settings, dist: Path = DIST) -> None:
    """Add the pages, and their files below /static. Before they are built, a page says how to build them."""

    def page(name: str) -> Any:
        def answer() -> Response:
            path = dist / name
            if not path.exists():
                return PlainTextResponse(NOT_BUILT, status_code=503)
            port = str(settings.demo_shop_port) if settings.demo_shop else ""
            text = path.read_text(encoding="utf-8").replace("DEMO_SHOP_PORT", port)
            return HTMLResponse(text, headers={"cache-control": "no-cache"})

        return answer

    for path, name in PAGES.items():
        app.add_api_route(path, page(name), methods=["GET", "HEAD"], include_in_schema=False)
    files = BuiltFiles(directory=dist, check_dir=False)

    async def static(scope: Any, receive: Any, send: Any) -> None:
        if not dist.is_dir():  # StaticFiles would answer 500
            raise HTTPException(404)
        await files(scope, receive, send)

    app.mount("/static", static)
