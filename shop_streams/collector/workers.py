"""Several collectors on one port, for more than one core: the kernel spreads connections over them (SO_REUSEPORT)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

WORKER = "--worker"
STOP_SECONDS = 14.0


def end_with_parent() -> None:
    """End this worker when its parent ends, also by kill -9: its standard input, a pipe from the parent, then closes."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_workers(count: int) -> int:
    """Run `count` workers until SIGTERM or SIGINT, or until one of them ends; returns the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    folder = tempfile.mkdtemp(prefix="shop-streams-collector-")
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
    command = [sys.executable, "-m", "shop_streams.collector", WORKER]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) for _ in range(count)]
    try:
        while not stopping.wait(0.2) and all(worker.poll() is None for worker in workers):
            pass
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in workers:
            try:
                worker.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if stopping.is_set() else 1
