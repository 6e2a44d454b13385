"""Untrusted values as text for a terminal or a page: short, and without control characters."""

from __future__ import annotations

BEFORE_DIFFERENCE = 15


def visible(value: object, lines: bool = False) -> str:
    """The text with escapes such as `\\x1b` for what is not printable; `lines` keeps line ends and tabs."""
    kept = " \n\t" if lines else " "
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def plain(value: bytes | str | None, limit: int = 60) -> str:
    """At most `limit` characters of the value, with escapes for control characters, bad UTF-8 and right-to-left marks."""
    if value is None:
        return "null"
    head = value[: limit * 4]  # a character has at most 4 bytes; the value may have megabytes
    text = head.decode(errors="backslashreplace") if isinstance(head, bytes) else head
    shown = visible(text)
    if len(shown) <= limit and len(head) == len(value):
        return shown
    return shown[: limit - 1] + "…"


def plain_pair(before: bytes | None, after: bytes | None, limit: int = 60) -> tuple[str, str]:
    """Two values as `plain`, from shortly before their first difference, so that long values show what changed."""
    if before is None or after is None or before == after:
        return plain(before, limit), plain(after, limit)
    length = min(len(before), len(after))
    differs = next((i for i in range(length) if before[i] != after[i]), length)
    start = max(0, differs - BEFORE_DIFFERENCE)
    while start and (before[start] & 0xC0) == 0x80:  # to the first byte of a character
        start -= 1
    lead = "…" if start else ""
    return lead + plain(before[start:], limit - len(lead)), lead + plain(after[start:], limit - len(lead))
