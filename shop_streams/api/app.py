"""The API's ASGI application."""

from __future__ import annotations

import asyncio
import logging

import psycopg2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases

_log = logging.getLogger(__name__)


def build_app(settings: Settings) -> Starlette:
    """Health, and each stream's lease as JSON."""
    leases = Leases(settings.postgres)

    async def livez(_request: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async def healthz(_request: Request) -> JSONResponse:
        try:
            await asyncio.to_thread(leases.read)
        except psycopg2.Error as error:
            return JSONResponse({"healthy": False, "reason": _unavailable(error)}, status_code=503)
        return JSONResponse({"healthy": True})

    async def streams(_request: Request) -> JSONResponse:
        try:
            found = await asyncio.to_thread(leases.read)
        except psycopg2.Error as error:
            return JSONResponse({"detail": _unavailable(error)}, status_code=503, headers={"retry-after": "2"})
        return JSONResponse(
            {
                lease.stream: {
                    "alive": lease.fresh(settings.lease_seconds), "run_id": lease.run_id, "epoch": lease.epoch,
                    "lag": lease.lag, "beat_age_seconds": round(lease.beat_age, 1),
                }
                for lease in found.values()
            }
        )  # fmt: skip

    app = Starlette(
        routes=[
            Route("/livez", livez), Route("/readyz", healthz), Route("/healthz", healthz),
            Route("/api/v1.0/streams", streams),
        ]
    )  # fmt: skip
    app.router.redirect_slashes = False
    return app


def _unavailable(error: psycopg2.Error) -> str:
    """A message without addresses and users, which are in the database's error; that goes to the log."""
    _log.warning("PostgreSQL does not answer: %s", " ".join(str(error).split()))
    return "The database does not answer"
