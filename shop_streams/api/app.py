"""The API's ASGI application.

GET /api/v1.0/users, /orders      items of the last hour; below it, `/<since>`: of half hours that end at `since` or later
GET /api/v1.0/streams             each stream's lease
GET /livez, /readyz, /healthz     health
GET /, /docs, /openapi.json       the page with the items, and what describes the API
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from shop_streams.api import models
from shop_streams.api.database import Database, Unavailable
from shop_streams.api.items import ORDERS, USERS, Items, Selection, ServedTable, body
from shop_streams.api.operations import RETRY_AFTER, add_operations
from shop_streams.api.pages import SecurityHeaders, add_pages
from shop_streams.settings import Settings

DEFAULT_SECONDS = 3600
ABOUT = """What shoppers look at and put in the basket, for each item of each shop.

A half hour is counted once its numbers are computed. Numbers of several half hours are summed."""


def build_app(settings: Settings) -> Any:
    """The application. It connects to PostgreSQL when it is asked for the first time."""
    app = FastAPI(
        title="shop_streams", version="1.0", description=ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    items = Items(Database(settings.api_postgres, settings.api_connections, settings.api_query_seconds))
    _add_items(app, items, USERS, models.Users, "views", "Views of items, and their depth")
    _add_items(app, items, ORDERS, models.Orders, "orders", "Orders of items, and their sum")
    add_operations(app, settings)
    add_pages(app, settings)
    return SecurityHeaders(app)


def _add_items(app: FastAPI, items: Items, table: ServedTable, model: Any, what: str, title: str) -> None:
    """Add both paths of a table."""

    async def answer(selection: Selection) -> Response:
        try:
            return _json(await items.answer(table, selection))
        except Unavailable:
            return _json(body(selection.since, b"[]", check=False), 503, RETRY_AFTER)

    async def last_hour(url: models.Url = None, limit: models.Limit = None, offset: models.Offset = 0) -> Response:
        return await answer(Selection(int(time.time()) - DEFAULT_SECONDS, url, limit, offset))

    async def since(
        since: models.Since, url: models.Url = None, limit: models.Limit = None, offset: models.Offset = 0
    ) -> Response:
        return await answer(Selection(since, url, limit, offset))

    errors: dict[int | str, dict[str, Any]] = {
        422: models.described(models.Invalid, "A parameter is no whole number, or `limit` or `offset` is negative."),
        503: models.described(models.NoAnswer, "The database does not answer, or all connections are in use.", models.RETRY)
    }  # fmt: skip
    common: dict[str, Any] = {"response_model": model, "responses": errors, "tags": ["items"]}
    app.add_api_route(
        f"/api/v1.0/{table.name}", last_hour, summary=f"{title}: the last hour", operation_id=f"{what}_of_the_last_hour", **common
    )  # fmt: skip
    app.add_api_route(
        f"/api/v1.0/{table.name}/{{since}}", since, summary=f"{title}, since a time", operation_id=f"{what}_since", **common
    )  # fmt: skip


def _json(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, "application/json")
