"""Dagster's code server of the stack: a run starts as a copy of a process that has the code loaded.

Dagster's own starts each run as a new Python that imports everything again: 3 to 7 s of processor time for each run, and
300 MB of memory for each stream. Here they are forked from one process that has imported the code and done nothing else
(`multiprocessing`'s forkserver). The command has no option for this, so the method that chooses is replaced before it starts.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.popen_forkserver
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

LOADED = "shop_streams.local.loaded"
ENDED_UNSEEN = 255  # what multiprocessing reports of a process whose fork server is gone


class _Fork(multiprocessing.popen_forkserver.Popen):
    """A forked run, which may outlive the process that it was forked from."""

    def _launch(self, process_obj: Any) -> None:
        server: Any = multiprocessing.forkserver._forkserver
        if server._forkserver_address and not Path(server._forkserver_address).exists():
            server._forkserver_pid = (
                None  # somebody has emptied the folder: start another one, beside the one of older runs
            )
        super()._launch(process_obj)  # type: ignore[misc]

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code; None while it runs. Dagster reports a run as failed that has one too early."""
        code = super().poll(flag)
        if code == ENDED_UNSEEN and _is_there(self.pid):
            self.returncode = None
            return None
        return code


class _ForkedRun(multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _Fork(process_obj)


class _Forking(multiprocessing.context.ForkServerContext):
    Process = _ForkedRun


def _is_there(pid: int) -> bool:
    import psutil  # not at the top: the copies import this module, too

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and LOADED in " ".join(process.cmdline())
    return False


def forking(folder: Path) -> _Forking | None:
    """What starts runs by a fork, with its socket in `folder`, or where TMPDIR says if there is no such folder.

    None where that can't be: macOS ends forks that use its libraries.
    """
    if sys.platform != "linux":
        return None
    if folder.is_dir() and folder.stat().st_uid == os.geteuid():
        multiprocessing.current_process()._config["tempdir"] = str(folder)  # type: ignore[attr-defined]
    context = _Forking()
    context.set_forkserver_preload([LOADED])
    try:
        multiprocessing.forkserver.ensure_running()  # it imports while this process does
    except OSError as error:  # the path of its socket may be too long
        print(f"Runs start slowly, each as a new Python: no fork server ({error}).", file=sys.stderr)
        return None
    return context


def main() -> None:
    """`dagster`, with the same options: `api grpc …`."""
    from dagster._cli import main as dagster_main
    from dagster._grpc.server import DagsterApiServer

    from shop_streams.local.prepare import runtime_folder
    from shop_streams.settings import get_settings

    context = forking(runtime_folder(get_settings()))
    original = DagsterApiServer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        self._mp_ctx = context or self._mp_ctx

    DagsterApiServer.__init__ = init  # type: ignore[method-assign]
    dagster_main()


if __name__ == "__main__":
    main()
