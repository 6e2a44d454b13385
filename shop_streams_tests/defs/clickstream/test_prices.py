"""Spellings of prices and amounts: the number, or None where there is no single one."""

# ruff: noqa: RUF001  (pages have texts in many scripts)

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.clickstream.prices import read_amount, read_price

NO_BREAK, THIN, NARROW, FIGURE, IDEOGRAPHIC = "\xa0", "\u2009", "\u202f", "\u2007", "\u3000"
PRICES: list[tuple[str, str | None]] = [
    # Russian
    ("1 490 руб.", "1490"), (f"1{NO_BREAK}490 руб.", "1490"), (f"1{THIN}490,50{NARROW}₽", "1490.5"), ("1 490,5", "1490.5"),
    ("1 490.50", "1490.5"), ("руб.99", "99"), ("1490 р.", "1490"), ("от 100", "100"), ("Цена: 12 300 ₽", "12300"),
    ("Цена – 100 руб.", "100"), ("1 490 000", "1490000"), ("1490р", "1490"), ("100 ₽/м²", "100"), ("\n\t  1 490 руб.\n", "1490"),
    ("1 490 руб. 50 коп.", None), ("2 тыс. руб.", None), ("1,5 млн ₽", None), ("100 ₽ 90 ₽", None), ("100\n 900", None),
    # German, French, Dutch, Swiss
    ("1.490,50 €", "1490.5"), ("1.490 €", "1490"), ("12,-", "12"), ("1.490,-", "1490"), ("12,– €", "12"), ("12,-- EUR", "12"),
    (f"1{NARROW}490,50{NARROW}€", "1490.5"), ("1'490.–", "1490"), ("1’490.50", "1490.5"), ("CHF 1'490'000.-", "1490000"),
    ("12.-", "12"), ("Fr. 12.50", "12.5"), ("kr. 1.490,00", "1490"), ("kr.99", "99"), ("1 490 Kč", "1490"), ("€12,-", "12"),
    ("12€99", None), ("12 €99", None), ("12'50", None), ("1,5 Mio. €", None),
    # English, Indian, American
    ("$ 1,490.00 USD", "1490"), ("$1,490", "1490"), ("1,490.50", "1490.5"), ("US$1490", "1490"), ("USD 1490", "1490"),
    ("£1,234,567.89", "1234567.89"), ("$.99", "0.99"), ("Rs.500", "500"), ("Rs. 500/-", "500"), ("₹1,23,456.78", "123456.78"),
    ("₹ 12,34,567", "1234567"), ("R$ 1.490,50", "1490.5"), ("S/.12.50", "12.5"), ("(from 12 USD)", "12"), ("500/=", "500"),
    ("$1.5k", None), ("2M", None), ("2 million", None), ("3 for 2", None), ("2 x 100", None), ("2×100", None),
    # Japanese, Chinese, Arabic, Persian, Hindi
    ("１，４９０円", "1490"), ("￥１４９０", "1490"), (f"1,490{IDEOGRAPHIC}円", "1490"), ("¥1,490(税込)", "1490"),
    ("１４９０．５０", "1490.5"), ("1万円", None), ("١٬٤٩٠٫٥٠ ر.س", "1490.5"), ("١٤٩٠", "1490"), ("٫٥", "0.5"),
    ("١٫٤٩٠", "1.49"), ("۱٬۴۹۰ تومان", "1490"), ("१,४९० ₹", "1490"),
    # one separator, or several
    ("€ 12", "12"), ("0", "0"), ("0,00 €", "0"), ("1.49", "1.49"), ("1.4900", "1.49"), ("1.5", "1.5"), ("12,490", "12490"),
    ("123.456", "123456"), ("0.490", "0.49"), ("1234.567", "1234.567"), ("1490,500.25", None), ("1,490.500", "1490.5"),
    ("1.490.000", "1490000"), ("1.490.50", None), ("1,490,5", None), ("1,490,50.00", None), ("1.2.3", None),
    ("10.11.2026", None), ("12.", "12"), ("12 .50", None), ("0 490", None), ("1  490", None),
    ("1490 500", None), (".490", "0.49"), ("..5", "5"), (f"1{FIGURE}490", "1490"), ("007", "7"),
    # no price: none, several, negative, percent, powers
    ("", None), ("free", None), ("бесплатно", None), ("NaN", None), ("Infinity", None), ("null", None), ("💰", None),
    ("💰 100", "100"), ("1\u200b490", "1490"), ("\u200e€ 12", "12"), ("10-20", None), ("10–20 €", None), ("10 - 20", None),
    ("50%", None), ("50 ％", None), ("٥٠٪", None), ("100 руб. (-%)", None), ("-5", None), ("−5 €", None), ("- 5", None),
    ("€ -5", None), ("-€ 5", None), ("–5", None), ("－5", None), ("5-", None), ("(5.00)", None), ("+5", "5"), ("~ 100", "100"),
    ("1e5", None), ("1.5e3", None), ("0x10", None), ("½", None), ("12²", None), ("1½", None), ("Ⅻ", None), ("#1 1000", None),
    # limits
    ("999999999999.999999999", "999999999999.999999999"), ("1000000000000", None), ("0.123456789", "0.123456789"),
    ("0.1234567891", None), ("1.50000000000000", "1.5"), ("9" * 100, None), ("0" * 99 + "5", "5"), (" " * 500 + "5", "5"),
    ("5" + " " * 99 + "€", None), ("\0", None), ("\ud800 5", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "price"), PRICES)
def test_a_price_is_read_or_not(text: str, price: str | None) -> None:
    assert read_price(text) == (None if price is None else Decimal(price))


AMOUNTS: list[tuple[str, int | None]] = [
    ("1", 1), (" 12\n", 12), ("2147483647", 2147483647), ("01", 1), ("2.0", 2), ("2,00", 2), ("１２", 12), ("٣", 3),
    ("\u200e3", 3), ("2.0000", 2),
    ("0", None), ("2147483648", None), ("", None), ("-1", None), ("−1", None), ("+1", None), ("1.5", None), ("1.000", None),
    ("1,000", None), ("1 000", None), ("2 шт.", None), ("1e3", None), ("0.0", None), ("NaN", None), ("two", None), ("½", None),
    ("9" * 100, None), (".0", None), ("1.", None), ("1 2", None), ("2%", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "amount"), AMOUNTS)
def test_an_amount_is_read_or_not(text: str, amount: int | None) -> None:
    assert read_amount(text) == amount


SEPARATORS = [
    (" ", ","), (" ", "."), (NO_BREAK, ","), (THIN, ","), (NARROW, ","), (".", ","), (",", "."), ("'", "."), ("’", "."),
    ("٬", "٫"), ("", "."), ("", ","),
]  # fmt: skip
AROUND = ["{}", "{} руб.", "{} €", "€ {}", "${}", "Rs.{}", "CHF {}", "{} р.", "kr. {}", "{}円", "Price: {}", "{}₽/м²"]


@given(
    st.decimals(0, 10**12 - 1, places=2, allow_nan=False, allow_infinity=False),
    st.sampled_from(SEPARATORS),
    st.sampled_from(AROUND),
)
def test_a_formatted_price_is_read_back(price: Decimal, separators: tuple[str, str], around: str) -> None:
    group, point = separators
    written = f"{price:,.2f}".replace(",", "G").replace(".", point).replace("G", group)
    assert read_price(around.format(written)) == price


@given(
    st.integers(0, 10**12 - 1), st.sampled_from(SEPARATORS[:-2]), st.sampled_from(["", ".-", ",-", ".–", ",—", "/-"])
)
def test_a_whole_price_is_read_back(price: int, separators: tuple[str, str], ending: str) -> None:
    assert read_price(f"{price:,}".replace(",", separators[0]) + ending) == price


@given(st.text(max_size=120) | st.text(alphabet="0123456789.,' -%€x٫\xa0", max_size=30))
def test_any_text_is_a_price_in_the_limits_or_none(text: str) -> None:
    price, amount = read_price(text), read_amount(text)
    if price is not None:
        assert 0 <= price < 10**12 and round(price, 9) == price
    assert amount is None or 1 <= amount < 2**31


@pytest.mark.parametrize("text", ["1" * 10**6, "1," * 10**6, " " * 10**6, "1 490 " * 10**6, "-" * 10**6, "." * 10**6])
def test_absurd_texts_take_no_time(text: str) -> None:
    start = time.perf_counter()
    assert read_price(text) is None and read_amount(text) is None
    assert time.perf_counter() - start < 0.1
