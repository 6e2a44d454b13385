"""A shell command as a fix of dead letters; only on the command line, where the user has a shell anyway."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from shop_streams.plain import plain
from shop_streams.streaming.drafts import Fix, FixFailed


def shell_fix(command: str, seconds: float) -> Fix:
    """The command reads a value on its standard input and writes the fixed one, within `seconds` for each letter."""

    def mend(raw: bytes) -> bytes:
        # A new session, so that a time-out also ends what the shell started.
        process = subprocess.Popen(
            command, shell=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            answer, told = process.communicate(raw, timeout=seconds)
        except BaseException as error:  # Ctrl-C too: it does not reach the new session
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise FixFailed(f"no answer within {seconds:g} s") from error
            raise
        if process.returncode:
            raise FixFailed(f"exit status {process.returncode}: {plain(told.strip(), 200)}")
        return (
            answer if raw.endswith(b"\n") else answer.rstrip(b"\n")
        )  # jq ends a line; a binary value may end so itself

    return mend
