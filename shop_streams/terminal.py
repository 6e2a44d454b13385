"""Text that came from outside, on a terminal: every character shows, none of them commands."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from shop_streams.plain import visible


def cell(value: object) -> Text:
    """A table's cell as it is: no markup, no emoji codes."""
    return Text(visible(value))


def escaped(value: object, lines: bool = False) -> str:
    """The text as a part of a line with rich markup."""
    return escape(visible(value, lines))


def speaker(console: Console) -> Callable[[str], None]:
    """Prints a sentence as it is, whatever it quotes: no markup, no wrapping."""
    return lambda sentence: console.print(visible(sentence), markup=False, highlight=False, soft_wrap=True)
