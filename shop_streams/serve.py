"""Serve an ASGI application on Granian inside this one process, so that a killed service leaves no worker behind."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server


def serve(app: Any, host: str, port: int) -> None:
    """Serve `app` on `host`:`port` until SIGTERM or SIGINT."""

    async def run() -> None:
        server = Server(
            app, address=host, port=port, interface=Interfaces.ASGI, websockets=False, backlog=1024,
            backpressure=1024, http1_settings=HTTP1Settings(keep_alive=True),
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.serve()

    uvloop.run(run())
