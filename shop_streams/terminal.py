"""Untrusted text on a terminal: every character is shown, none is interpreted."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from shop_streams.plain import visible


def cell(value: object) -> Text:
    """A table cell with the literal text: no markup, no emoji codes."""
    return Text(visible(value))


def escaped(value: object, lines: bool = False) -> str:
    """The literal text, for use in a line with rich markup."""
    return escape(visible(value, lines))


def speaker(console: Console) -> Callable[[str], None]:
    """A function that prints a sentence literally: no markup, no wrapping."""
    return lambda sentence: console.print(visible(sentence), markup=False, highlight=False, soft_wrap=True)
