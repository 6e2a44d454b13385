"""Clicks of the tests: records of the topic `online_store`, their keys and headers."""

# ruff: noqa: RUF001  (pages have texts in many scripts)

import time
from datetime import UTC, datetime
from typing import Any

NOW_MS = int(time.time() * 1000)
CLICK_MS = NOW_MS - 60_000
PAGE = "https://shop.example/katalog/item/5"
VIEW: dict[str, Any] = {"timestamp": CLICK_MS, "eventType": "pageView", "location": PAGE, "sessionId": "0:s:1"}
BUY = VIEW | {"eventType": "buy_button_click", "price": "1 490 руб.", "amount": "2"}
FIELDS = ("eventType", "location", "sessionId", "price", "amount")


def written(record: dict[str, Any]) -> bytes:
    """The record in Avro, byte by byte as the Avro specification says, so that no library checks itself."""
    texts = []
    for value in (record.get(name) for name in FIELDS):
        data = None if value is None else value.encode()
        texts.append(b"\x00" if data is None else b"\x02" + _long(len(data)) + data)
    return _long(record["timestamp"]) + b"".join(texts)


def _long(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*out, rest])


CONFLUENT = b"\x00\x00\x00\x00\x07"
SOME_TIME = int(datetime(2025, 12, 31, 23, 59, 59, 999_000, UTC).timestamp() * 1000)
# A value that no rule accepts, and words of the reason.
REFUSED: list[tuple[bytes | None, str]] = [
    (None, "empty value"),
    (b"", "empty value"),
    (written(VIEW)[:-1], "not Avro: the record is incomplete"),
    (written(VIEW) + b"\x00", "not Avro: 1 bytes after the record"),
    (written(VIEW) * 2, "bytes after the record"),
    (CONFLUENT + written(VIEW), "it begins with Confluent's frame (byte 0 and a schema id)"),
    (b'{"timestamp": 1}', "not Avro: "),
    (written(VIEW | {"timestamp": SOME_TIME}), "timestamp is before 2026-01-01, when there was no clickstream"),
    (written(VIEW | {"timestamp": 0}), "timestamp is before 2015-01-01, the setting FIRST_DAY; are the units right?"),
    (written(VIEW | {"timestamp": CLICK_MS // 1000}), "are the units right?"),
    (written(VIEW | {"timestamp": -(2**63)}), "timestamp is before 2015-01-01"),
    (written(VIEW | {"timestamp": NOW_MS + 86_400_000}), "timestamp is more than an hour ahead"),
    (written(VIEW | {"timestamp": 2**63 - 1}), "timestamp is after the year 9999"),
    (written(BUY | {"price": None}), "price is missing"),
    (written(BUY | {"amount": None}), "amount is missing"),
    (written(BUY | {"price": ""}), "price '' is no price: one number from 0, at most 9 decimals"),
    (written(BUY | {"price": "10-20 €"}), "price '10-20 €' is no price"),
    (written(BUY | {"amount": "0"}), "amount '0' is no whole number from 1 to 2147483647"),
    (written(BUY | {"price": "-5 %", "amount": "x\x1b[2J"}), "price '-5 %' is no price"),
    (written(BUY | {"price": "-5 %", "amount": "1.5"}), "decimals; amount '1.5' is no whole number"),
    (written(BUY | {"timestamp": 0, "price": "free"}), "are the units right?; price 'free' is no price"),
    (written(BUY | {"price": "9" * 100_000}), "price '999"),
]
