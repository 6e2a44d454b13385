"""Expected errors. Each message names the thing, the value and the next step."""

import sys
from collections.abc import Callable


class ShopStreamsError(Exception):
    """An expected failure. Its text says what is wrong and what to do next; the CLI prints it without a traceback.

    A stream's run that fails with it shows `next_step` too.
    """

    next_step = "Follow the steps in the message; the sensor tries again."


def in_one_line(run: Callable[[], int]) -> int:
    """Run a process's main function and return its exit code. An expected failure prints one line to stderr and returns 1."""
    try:
        return run()
    except ShopStreamsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
