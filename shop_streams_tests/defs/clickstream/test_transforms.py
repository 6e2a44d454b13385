"""Records in, rows and reasons out."""

# ruff: noqa: RUF001  (pages have texts in many scripts)

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.clickstream import transforms
from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.settings import Settings
from shop_streams.streaming.sinks import LakeSink
from shop_streams_tests.defs.clickstream.clicks import BUY, CLICK_MS, PAGE, REFUSED, VIEW, written
from shop_streams_tests.harness import Headers, records

PARTY = b"0:p:1"
# As the collector writes them.
SENT = {
    "event_id": "0:v:1", "page_view_id": "0:v", "received_at": "1790000000123", "client_timestamp": "1790000000000",
    "is_new_party": "true", "is_first_in_session": "false", "corrupt": "false", "parameters": '{"a":1}',
    "referer": "https://search.example/", "viewport": "1280x800", "screen": "1920x1080", "pixel_ratio": "1.5",
}  # fmt: skip
UNKNOWN: dict[str, Any] = dict.fromkeys(SENT) | {"corrupt": False, "identity": None}
IDENTITY = '["0:p:1","0:s:1","0:v:1"]'
KNOWN = SENT | {
    "received_at": "2026-09-21 14:13:20.123", "client_timestamp": "2026-09-21 14:13:20", "is_new_party": True,
    "is_first_in_session": False, "corrupt": False, "party_id": "0:p:1", "identity": IDENTITY,
}  # fmt: skip


def headers(**changed: str | bytes | None) -> Headers:
    """The collector's headers with changes; None leaves a header out."""
    every = {name: value for name, value in (SENT | changed).items() if value is not None}
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in every.items()]


# The record, its key, its headers, and what the row then has, beside what follows from the record alone.
ROWS: list[tuple[dict[str, Any], bytes | None, Headers | None, dict[str, Any]]] = [
    (VIEW, PARTY, headers(), KNOWN),
    # as Divolte writes it
    (VIEW, PARTY, None, UNKNOWN | {"party_id": "0:p:1"}),
    (VIEW, None, [], UNKNOWN | {"party_id": None}),
    # an identity needs three parts
    (VIEW, None, headers(), KNOWN | {"party_id": None, "identity": None}),
    (VIEW, b"", headers(), KNOWN | {"party_id": None, "identity": None}),
    (VIEW, b"\xff", headers(), KNOWN | {"party_id": None, "identity": None}),
    (VIEW | {"sessionId": None}, PARTY, headers(), KNOWN | {"session_id": None, "identity": None}),
    (VIEW | {"sessionId": ""}, PARTY, headers(), KNOWN | {"session_id": None, "identity": None}),
    (VIEW, PARTY, headers(event_id=None), KNOWN | {"event_id": None, "identity": None}),
    (VIEW, PARTY, headers(event_id=""), KNOWN | {"event_id": None, "identity": None}),
    (VIEW, PARTY, headers(event_id=b"\xff\xfe"), KNOWN | {"event_id": None, "identity": None}),
    (VIEW, b'","', headers(), KNOWN | {"party_id": '","', "identity": json.dumps(['","', "0:s:1", "0:v:1"], separators=(",", ":"))}),
    # the last header of a name wins
    (VIEW, PARTY, [*headers(), ("event_id", b"0:v:2"), ("other", b"x")], KNOWN | {"event_id": "0:v:2", "identity": IDENTITY.replace("v:1", "v:2")}),
    (VIEW, PARTY, [*headers(), ("referer", None)], KNOWN | {"referer": None}),
    (VIEW, PARTY, headers(referer=b"\xed\xa0\x80", viewport="", screen="a\0b"), KNOWN | {"referer": None, "viewport": None, "screen": "a\0b"}),
    # flags
    (VIEW, PARTY, headers(corrupt="true"), KNOWN | {"corrupt": True}),
    (VIEW, PARTY, headers(corrupt=None), KNOWN | {"corrupt": False}),
    (VIEW, PARTY, headers(corrupt="TRUE", is_new_party="1"), KNOWN | {"corrupt": False, "is_new_party": None}),
    # times
    *[
        (VIEW, PARTY, headers(received_at=junk, client_timestamp=junk), KNOWN | {"received_at": None, "client_timestamp": None})
        for junk in ("", "-1", "x", "1e3", "1.5", " 1", "1\n", "١", "4102444800000", "9" * 13, "9" * 40, "0x1", b"\xff")
    ],
    (VIEW, PARTY, headers(received_at="0", client_timestamp="4102444799999"), KNOWN | {"received_at": "1970-01-01 00:00:00", "client_timestamp": "2099-12-31 23:59:59.999"}),
    # orders
    (BUY, PARTY, headers(), KNOWN | {"order_price": Decimal(1490), "order_amount": 2}),
    (BUY | {"price": "999999999999.999999999", "amount": "2147483647"}, PARTY, headers(), KNOWN | {"order_price": Decimal("999999999999.999999999"), "order_amount": 2**31 - 1}),
    (BUY | {"price": "1.50000000000000"}, PARTY, headers(), KNOWN | {"order_price": Decimal("1.5"), "order_amount": 2}),
    (BUY | {"location": "https://shop.example/", "price": "free"}, PARTY, headers(), KNOWN | {"item_id": None}),
    (BUY | {"location": None, "amount": "x"}, PARTY, headers(), KNOWN | {"shop": None, "item_id": None}),
    # texts that some store can't take
    (VIEW | {"location": PAGE + "%00%ff", "eventType": "a\0\U0001f600", "sessionId": "s\0"}, PARTY, headers(), KNOWN | {"item_id": "5\ufffd\ufffd", "identity": '["0:p:1","s\\u0000","0:v:1"]'}),
    (VIEW | {"location": "https://Shop.example:8443/katalog/item/a+b"}, PARTY, headers(), KNOWN | {"shop": "shop.example:8443", "item_id": "a+b"}),
]  # fmt: skip


def validated(spark: SparkSession, *columns: list[Any], item_path: str = "/katalog/item/") -> DataFrame:
    """Records of (values, keys, headers), validated as the stream does it."""
    values, keys, found = columns
    assert isinstance(INGEST.sink, LakeSink)
    return INGEST.sink.validated(records(spark, values, keys=keys, headers=found), Settings(item_path=item_path))


def test_a_record_is_a_row(spark: SparkSession) -> None:
    found = validated(spark, [written(one[0]) for one in ROWS], [one[1] for one in ROWS], [one[2] for one in ROWS])
    assert [row.reason for row in found.select("reason").collect()] == [None] * len(ROWS)
    projected = transforms.project(found).orderBy("kafka_offset")
    *columns, with_hash = CLICKS.columns
    assert {one.name: one.dataType.simpleString() for one in projected.schema} == {
        one.name: one.type for one in columns
    }
    assert with_hash.name == "identity_hash", "the sink writes it"
    times = ("clicked_at", "received_at", "client_timestamp")
    rows = projected.withColumns({name: projected[name].cast("string") for name in times}).collect()
    moment = datetime.fromtimestamp(CLICK_MS / 1000, UTC)
    for number, (row, (record, _, _, expected)) in enumerate(zip(rows, ROWS, strict=True)):
        follows = {
            "clicked_at": moment.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip("."),
            "clicked_on": date(moment.year, moment.month, moment.day),
            "event_type": record["eventType"], "location": record["location"], "session_id": record["sessionId"],
            "price": record.get("price"), "amount": record.get("amount"), "shop": "shop.example", "item_id": "5",
            "order_price": None, "order_amount": None, "kafka_partition": 0, "kafka_offset": number,
        }  # fmt: skip
        assert row.asDict() == follows | expected, number


def test_a_refused_record_keeps_what_its_dead_letter_needs(spark: SparkSession) -> None:
    values = [value for value, _ in REFUSED]
    found = validated(spark, values, [PARTY] * len(values), [headers()] * len(values)).orderBy("offset").collect()
    for row, (value, words) in zip(found, REFUSED, strict=True):
        assert words in row.reason and row.event is None
        assert (row.value, row.key, row.headers[0].key) == (value, PARTY, "event_id")


def test_the_path_of_items_comes_from_the_settings(spark: SparkSession) -> None:
    value = written(VIEW | {"location": "https://shop.example/p/7"})
    for item_path, item in (("/p/", "7"), ("/katalog/item/", None)):
        found = validated(spark, [value], [PARTY], [None], item_path=item_path)
        assert transforms.project(found).first().item_id == item  # type: ignore[union-attr]
