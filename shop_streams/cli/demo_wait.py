"""How the demo waits: as long as there is progress. A slow machine takes minutes for what takes seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape

from shop_streams.errors import ShopStreamsError

PATIENCE_SECONDS = 240.0


def wait(console: Console, what: str, ready: Callable[[], Any], progress: Callable[[], str] = str) -> Any:
    """Wait until `ready` returns something true, and return that; `progress` says how far it is.

    Raises:
        ShopStreamsError: `progress` has said the same for `PATIENCE_SECONDS`.
    """
    started = since = time.monotonic()
    said = ""
    with console.status(what) as line:
        while not (value := ready()):
            if (now := progress()) != said:
                said, since = now, time.monotonic()
                line.update(escape(f"{what}: {said}"))
            if time.monotonic() - since > PATIENCE_SECONDS:
                last = f" Last: {said}" if said else ""
                raise ShopStreamsError(
                    f"No progress for {PATIENCE_SECONDS:.0f} s: {what}.{last} "
                    "See `shop-streams status` and the runs in Dagster."
                )
            time.sleep(0.5)
    console.print(f"  [green]✓[/] {what} ({time.monotonic() - started:.0f} s)", highlight=False)
    return value
