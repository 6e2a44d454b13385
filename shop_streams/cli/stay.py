"""Commands that stay in the foreground of a stack until they are stopped."""

from __future__ import annotations

import signal
import threading

from rich.console import Console

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.terminal import speaker

LOOK_SECONDS = 5.0
STOPPING = "Stopping: streams end at a batch boundary first. The first stop also writes an archive that makes starts faster (half a minute) …"


def stay_until_interrupted(settings: Settings, console: Console) -> None:
    """Wait for Ctrl-C or SIGTERM, then stop the stack.

    Raises:
        ShopStreamsError: the stack ended without being stopped.
    """
    from shop_streams.local import stack
    from shop_streams.local.supervision import supervisor_process

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    console.print("Ctrl-C stops everything.")
    while not stopped.wait(LOOK_SECONDS):
        if supervisor_process(settings) is None:
            if not (settings.home / "stack.env").exists():  # `down` deletes it last
                console.print("Another command has stopped the stack.")
                return
            raise ShopStreamsError("The stack's supervisor has died. `shop-streams up` starts the stack again.")
    console.print(STOPPING)
    stack.down(settings, speaker(console))
