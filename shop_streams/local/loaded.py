"""What the process has that the code server forks its runs from: imports. A fork copies no thread, so nothing here connects."""

import signal

import shop_streams.definitions
import shop_streams.local.dagster_storage  # noqa: F401

# systemd asks each process of a service to end. This one knows how the runs end, and goes after the last of them.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
