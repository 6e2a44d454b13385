"""Dagster's webserver for the embedded stack: it answers its own pages only.

Every page that a browser has open can send requests to 127.0.0.1, and Dagster's GraphQL runs mutations from a GET, too.
The command has no option for this, so the method that makes the webserver's middleware is replaced before it starts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shop_streams.settings import get_settings

REFUSED = "refused: this address answers Dagster's own pages and local programs only"


def is_allowed(kind: str, method: str, path: str, query: bytes, headers: Headers, hosts: Sequence[str]) -> bool:
    """Whether a request comes from the UI or a program on this machine, and not from another web page.

    `Host` has another name under DNS rebinding; `Origin` is the page that sends the request. An image or a link sends
    no `Origin`, so a GraphQL query in the address is refused for all.
    """
    if headers.get("host", "").lower() not in hosts:
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in [f"http://{host}" for host in hosts]:
        return False
    # The UI has the operation's name in the address (`/graphql?op=…`), and the query in the body.
    asked = kind == "http" and path.rstrip("/").endswith("/graphql") and "query" in parse_qs(query.decode("latin-1"))
    return not (asked and method != "OPTIONS")


@dataclass(frozen=True)
class OwnPagesOnly:
    """ASGI middleware: 403 for requests that are not allowed; their websockets are closed before they open."""

    app: ASGIApp
    hosts: tuple[str, ...]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        method, query = scope.get("method", "GET"), scope.get("query_string", b"")
        if is_allowed(scope["type"], method, scope["path"], query, Headers(scope=scope), self.hosts):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
        else:
            await PlainTextResponse(REFUSED, status_code=403)(scope, receive, send)


def main() -> None:
    """`dagster-webserver` with the check in front, on the port of the setting; otherwise the same options."""
    from dagster_webserver.cli import cli
    from dagster_webserver.webserver import DagsterWebserver

    port = get_settings().dagster_port
    hosts = tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
    original = DagsterWebserver.build_middleware

    def build_middleware(self: Any) -> list[Middleware]:
        return [Middleware(OwnPagesOnly, hosts=hosts), *original(self)]

    DagsterWebserver.build_middleware = build_middleware  # type: ignore[method-assign]
    cli([*sys.argv[1:], "--port", str(port)], auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
