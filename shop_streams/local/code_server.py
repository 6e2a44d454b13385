"""Dagster's code server of the stack: a run starts as a copy of a process that has the code loaded.

Dagster's own starts each run as a new Python that imports everything again: 3 to 7 s of processor time for each run, and
300 MB of memory for each stream. Here they are forked from one process that has imported the code and done nothing else
(`multiprocessing`'s forkserver). The command has no option for this, so the method that chooses is replaced before it starts.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import sys
from multiprocessing.context import ForkServerContext
from typing import Any

LOADED = "shop_streams.local.loaded"


def forking() -> ForkServerContext | None:
    """What starts runs by a fork. None where that can't be: macOS ends forks that use its libraries."""
    if sys.platform != "linux":
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([LOADED])
    try:
        multiprocessing.forkserver.ensure_running()  # it imports while this process does
    except OSError as error:  # its socket is in TMPDIR, whose path may be too long
        print(f"Runs start slowly, each as a new Python: no fork server ({error}).", file=sys.stderr)
        return None
    return context


def main() -> None:
    """`dagster`, with the same options: `api grpc …`."""
    from dagster._cli import main as dagster_main
    from dagster._grpc.server import DagsterApiServer

    context = forking()
    original = DagsterApiServer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        self._mp_ctx = context or self._mp_ctx

    DagsterApiServer.__init__ = init  # type: ignore[method-assign]
    dagster_main()


if __name__ == "__main__":
    main()
