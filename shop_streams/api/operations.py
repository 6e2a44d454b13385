"""Health, and the state of each stream. They have connections of their own, so that slow questions for items can't block them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from psycopg2.extras import RealDictCursor
from starlette.responses import JSONResponse

from shop_streams.api import models
from shop_streams.api.database import Database, Unavailable
from shop_streams.settings import Settings
from shop_streams.streaming.lease import READ, Lease

CONNECTIONS = 2
STATEMENT_SECONDS = 5.0  # as in `postgres.short_transaction`
RETRY_AFTER = {"retry-after": "2"}


def add_operations(app: FastAPI, settings: Settings) -> None:
    """Add the paths for operators. They answer GET and HEAD."""
    database = Database(settings.api_postgres, CONNECTIONS, STATEMENT_SECONDS)

    async def leases() -> dict[str, Lease]:
        return await database.ask(_read, cursor_factory=RealDictCursor)

    async def livez() -> JSONResponse:
        """200 as long as the process answers"""
        return JSONResponse({"alive": True})

    async def healthz() -> JSONResponse:
        """200 when the database answers"""
        try:
            await leases()
        except Unavailable as reason:
            return JSONResponse({"healthy": False, "reason": str(reason)}, status_code=503)
        return JSONResponse({"healthy": True})

    async def streams() -> JSONResponse:
        """Each stream's lease"""
        try:
            found = await leases()
        except Unavailable as reason:
            return JSONResponse({"detail": str(reason)}, status_code=503, headers=RETRY_AFTER)
        return JSONResponse(
            {
                lease.stream: {
                    "alive": lease.fresh(settings.lease_seconds), "run_id": lease.run_id, "epoch": lease.epoch,
                    "lag": lease.lag, "beat_age_seconds": round(lease.beat_age, 1),
                }
                for lease in found.values()
            }
        )  # fmt: skip

    unhealthy = models.described(models.Health, "The database does not answer.")
    no_streams = models.described(models.Detail, "The database does not answer.", models.RETRY)
    paths: tuple[tuple[str, Any, Any, dict[int | str, dict[str, Any]]], ...] = (
        ("/livez", livez, models.Alive, {}),
        ("/readyz", healthz, models.Health, {503: unhealthy}),
        ("/healthz", healthz, models.Health, {503: unhealthy}),
        ("/api/v1.0/streams", streams, dict[str, models.StreamState], {503: no_streams}),
    )
    for path, endpoint, model, errors in paths:
        app.add_api_route(
            path, endpoint, response_model=model, responses=errors, tags=["operations"], summary=endpoint.__doc__
        )
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def _read(cursor: Any) -> dict[str, Lease]:
    cursor.execute(READ)
    return {row["stream"]: Lease(**row) for row in cursor}
