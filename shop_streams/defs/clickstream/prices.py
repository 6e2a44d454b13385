"""Prices and amounts as pages show them: text in, number out.

price-parser is not used: it looks for a price in any text, and never says that there is no single one. Its version 0.5.1
reads "10-20" as 10, "2 x 100" as 2, "50 %" as 50, "-5 €" as 5, "1 490 руб. 50 коп." as 1490, "12 €99" as 12.99,
"1.5 млн руб." as 1.5, "1’490.50" as 1, "１，４９０円" as 1, "١٤٩٠٫٥٠" as 1490 and "руб.99" as 0.99.
"""

# ruff: noqa: RUF001, RUF002  (prices have digits and dashes of many scripts)

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

MAX_CHARACTERS = 100
PRICE_LIMIT = 10**12  # prices are lower
MAX_DECIMALS = 9
MAX_AMOUNT = 2**31 - 1

# Other characters, as the ones that the patterns know. The Arabic decimal point stays, because it is never anything else.
_SPELLINGS = dict.fromkeys("’‘ʼ´`′＇٬", "'") | dict.fromkeys("，،﹐", ",") | {"．": ".", "﹒": ".", "−": "-", "⁻": "-"}
_PERCENT = re.compile("[%‰‱٪％﹪]")
# A point before digits is theirs, as in "$.99", unless it ends a word, as in "Rs.99" or "S/.99".
_NUMBER = re.compile(r"(?:(?<![\w/.,'])[.,٫])?\d+(?:[ .,'٫]\d+)*")
_LONE_SEPARATOR = re.compile(r"(\d*)([.,٫])(\d+)")
_ONE_GROUP = re.compile(r"[1-9]\d{0,2}")
_GROUPED = re.compile(  # the second way is the Indian one
    r"(?P<groups>[1-9]\d{0,2}(?P<separator>[ .,'])\d{3}(?:(?P=separator)\d{3})*|[1-9]\d?(?:,\d\d)+,\d{3})"
    r"(?:(?P<point>[.,٫])(?P<decimals>\d+))?"
)
_MINUS_BEFORE = re.compile(r"\A-|-(?:[^\w\s]+\s?)?\Z")  # "Price - 5" is no minus
_POWER = re.compile(
    r" ?(?:(?:[kкmм]|mio|mln|mrd|bn|million(?:en)?|billion|тыс|млн|млрд|lakh|crore)(?!\w)|[千万萬億亿])", re.IGNORECASE
)


def read_price(text: str) -> Decimal | None:
    """The price in a text with exactly one number, or None: 0 <= price < 10^12, at most 9 decimals.

    A lone point or comma with exactly three digits behind it groups thousands, if the digits before it can be a group: one to
    three, the first not 0. Otherwise it is the decimal point. A negative number, a percentage and a number with a power of
    ten in words ("2 тыс.") are not read.
    """
    plain = _plain(text)
    found = list(_NUMBER.finditer(plain))
    if len(found) != 1 or _PERCENT.search(plain):
        return None
    (number,) = found
    if _is_negative(plain[: number.start()], plain[number.end() :]) or _POWER.match(plain, number.end()):
        return None
    digits = _digits(number[0])
    if digits is None or len(digits.partition(".")[2].rstrip("0")) > MAX_DECIMALS:
        return None
    price = Decimal(digits)
    return price if price < PRICE_LIMIT else None


def read_amount(text: str) -> int | None:
    """The amount if the text is a whole number from 1 to 2^31 - 1, else None.

    "2.0" is whole. "1.000" is None: it may be one or a thousand.
    """
    found = re.fullmatch(r"(\d+)(?:[.,](?!000\Z)0+)?", _plain(text))
    amount = int(found[1]) if found else 0
    return amount if 1 <= amount <= MAX_AMOUNT else None


def _plain(text: str) -> str:
    """The text with ASCII digits, spaces, dashes and separators; empty if it is too long, or has digits such as ½."""
    text = text.strip()  # pages indent their texts
    if len(text) > MAX_CHARACTERS:
        return ""
    characters: list[str] = []
    for one in text:
        kind = unicodedata.category(one)
        if kind == "Nd":
            characters.append(str(unicodedata.decimal(one)))
        elif kind in ("No", "Nl"):
            if not (characters and characters[-1].isalpha()):  # as in m²
                return ""
        elif kind in ("Zs", "Pd"):
            characters.append(" " if kind == "Zs" else "-")
        elif kind != "Cf":  # invisible, such as marks of the direction of writing
            characters.append(_SPELLINGS.get(one, one))
    return "".join(characters).strip()


def _is_negative(before: str, behind: str) -> bool:
    """Whether the number has a minus before or behind it, or is in brackets, as accountants write it."""
    if _MINUS_BEFORE.search(before) or behind.startswith("-"):
        return True
    return before.startswith("(") and behind.endswith(")") and not re.search(r"\w", before + behind)


def _digits(number: str) -> str | None:
    """The digits, with a decimal point if there is one; None if the separators separate several numbers."""
    if number.isdecimal():
        return number
    if lone := _LONE_SEPARATOR.fullmatch(number):
        whole, separator, rest = lone.groups()
        groups = separator != "٫" and len(rest) == 3 and _ONE_GROUP.fullmatch(whole)
        return f"{whole}{rest}" if groups else f"{whole or 0}.{rest}"
    grouped = _GROUPED.fullmatch(number)
    if not grouped or grouped["point"] == (grouped["separator"] or ","):
        return None
    whole = re.sub(r"\D", "", grouped["groups"])
    return f"{whole}.{grouped['decimals']}" if grouped["point"] else whole
