"""What the process has that the code server forks its runs from: imports.

A fork copies no thread, so nothing here connects. The libraries' own threads (OpenBLAS's and jemalloc's) start again in a copy.
"""

import signal
import traceback

# systemd asks each process of a service to end. This one knows how the runs end, and goes after the last of them.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    import shop_streams.definitions
    import shop_streams.local.dagster_storage  # noqa: F401
except Exception:  # each run then imports by itself, and reports it
    traceback.print_exc()
