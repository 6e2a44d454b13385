"""The errors that a person sees: each names the thing, the value and the next step."""

import sys
from collections.abc import Callable


class ShopStreamsError(Exception):
    """An expected failure. Its text says what is wrong and what to do next; the CLI prints it without a traceback.

    `next_step` is what a stream's run that fails with it says next to its text.
    """

    next_step = "Read the way out above; the sensor tries again."


def in_one_line(run: Callable[[], int]) -> int:
    """Run a process's main function; an expected failure is one line on standard error, and exit code 1."""
    try:
        return run()
    except ShopStreamsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
