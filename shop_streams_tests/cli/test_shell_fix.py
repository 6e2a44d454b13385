"""A shell command as a fix."""

import time

import pytest

from shop_streams.cli.shell_fix import shell_fix
from shop_streams.streaming.drafts import FixFailed


def test_a_shell_fix_has_a_time_limit_and_ends_with_all_that_it_started() -> None:
    assert shell_fix("sed s/bux/buy/", 10)(b"bux") == b"buy"
    assert shell_fix("true", 10)(b"x" * 1_000_000) == b"", "it need not read the value"
    with pytest.raises(FixFailed, match=r"exit status 3: \[/red\]\\x1b"):
        shell_fix("printf '[/red]\\033[2J' >&2; exit 3", 10)(b"")
    assert shell_fix("echo buy", 10)(b"bux") == b"buy", "the line end is of the command"
    assert shell_fix("cat", 10)(b"\x02\x00\n") == b"\x02\x00\n", "a binary value may end so itself"
    for slow in ("sleep 60", "sleep 60 &"):  # the second ends at once, and what it started holds the answer open
        began = time.monotonic()
        with pytest.raises(FixFailed, match=r"no answer within 0\.5 s"):
            shell_fix(slow, 0.5)(b"value")
        assert time.monotonic() - began < 20
