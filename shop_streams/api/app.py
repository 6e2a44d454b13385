"""The API's ASGI application."""

from __future__ import annotations

import asyncio

import psycopg2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases


def build_app(settings: Settings) -> Starlette:
    """Health, and each stream's lease as JSON."""
    leases = Leases(settings.postgres)

    async def healthz(_request: Request) -> JSONResponse:
        try:
            await asyncio.to_thread(leases.read)
        except psycopg2.Error as error:
            return JSONResponse({"healthy": False, "reason": str(error).strip()}, status_code=503)
        return JSONResponse({"healthy": True})

    async def streams(_request: Request) -> JSONResponse:
        try:
            found = await asyncio.to_thread(leases.read)
        except psycopg2.Error as error:
            return JSONResponse({"detail": str(error).strip()}, status_code=503)
        return JSONResponse(
            {
                lease.stream: {
                    "alive": lease.fresh(settings.lease_seconds), "run_id": lease.run_id, "epoch": lease.epoch,
                    "lag": lease.lag, "beat_age_seconds": round(lease.beat_age, 1),
                }
                for lease in found.values()
            }
        )  # fmt: skip

    return Starlette(routes=[Route("/healthz", healthz), Route("/api/v1.0/streams", streams)])
