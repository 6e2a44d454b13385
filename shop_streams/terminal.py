"""Text that came from outside, on a terminal: every character shows, none of them commands."""

from __future__ import annotations

from rich.markup import escape
from rich.text import Text


def visible(value: object, lines: bool = False) -> str:
    """The text with its control characters written out, as `\\x1b`; `lines` lets line ends and tabs through."""
    kept = " \n\t" if lines else " "
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def cell(value: object) -> Text:
    """A table's cell as it is: no markup, no emoji codes."""
    return Text(visible(value))


def escaped(value: object, lines: bool = False) -> str:
    """The text as a part of a line with rich markup."""
    return escape(visible(value, lines))
