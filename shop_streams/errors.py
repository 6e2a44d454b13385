"""The errors that a person sees: each names the thing, the value and the next step."""

import sys
from collections.abc import Callable


class ShopStreamsError(Exception):
    """An expected failure. Its text says what is wrong and what to do next; the CLI prints it without a traceback."""


def in_one_line(run: Callable[[], int]) -> int:
    """Run a process's main function; an expected failure is one line on standard error, and exit code 1."""
    try:
        return run()
    except ShopStreamsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
