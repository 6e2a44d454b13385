"""Parity compares a day of equal hours once, and again when the mart or the topic changes."""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.cluster import Cluster
from shop_streams.defs.sales import checks
from shop_streams.defs.sales.checks import parity_with_stream
from shop_streams.defs.sales.schema import HOURLY, HOURLY_TOPIC
from shop_streams.kafka import Record
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams_tests.patching import replace_in

DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
HOUR = 3600


def start_of(day: str) -> int:
    return int((date.fromisoformat(day) - date(1970, 1, 1)).days) * 86_400


@dataclass
class Shop:
    """A mart of three days with an hour each, and what the stream sent for them."""

    home: Path
    sent: list[Record] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DAYS, 7))
    saved: Any = None
    read: list[list[str]] = field(default_factory=list)  # the days of each check

    def write(self, day: str, revenue: int, version: int = 7) -> None:
        """Write the mart's day."""
        start = start_of(day)
        row: dict[str, Any] = {
            "start_ts": start,
            "end_ts": start + HOUR,
            "revenue": revenue,
            "visitors": 2,
            "purchases": 1,
        }
        row |= {"aov": float(revenue), "source_rows": version, "event_date": date.fromisoformat(day)}
        types = {"bigint": pa.int64(), "double": pa.float64(), "date": pa.date32(), "decimal(38,0)": pa.decimal128(38)}
        columns = {
            one.name: pa.array([row.get(one.name)], types.get(one.type, pa.string()) if one.name not in row else None)
            for one in HOURLY.columns
        }
        write_deltalake(
            HOURLY.uri(Settings(home=self.home)),
            pa.table(columns),
            mode="overwrite",
            predicate=f"event_date = '{day}'",
            partition_by=["event_date"],
        )

    def send(self, day: str, revenue: int, partition: int = 0) -> None:
        """The stream's last record for the day's hour, in this partition."""
        start = start_of(day)
        numbers = {"revenue": revenue, "visitors": 2, "purchases": 1, "aov": float(revenue)}
        value = {"start_ts": start, "end_ts": start + HOUR} | numbers
        self.sent.append(Record(partition, len(self.sent), str(start).encode(), json.dumps(value).encode(), {}))

    def topic(self, _servers: Cluster, topic: str, _first: Any = None) -> list[Record]:
        """The records of a topic; shop_events has none."""
        return self.sent if topic == HOURLY_TOPIC.name else []

    def check(self) -> dg.AssetCheckResult:
        found = parity_with_stream(lake=Lake(Settings(home=self.home)))
        assert isinstance(found, dg.AssetCheckResult)
        return found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    one = Shop(tmp_path)
    for number, day in enumerate(DAYS):
        one.write(day, 100 + number)
        one.send(day, 100 + number)
    for name, value in {
        "committed_offsets": {}, "offset_ranges": {}, "forgotten_hours": set(), "window_offset": 0,
    }.items():  # fmt: skip
        monkeypatch.setattr(checks, name, lambda *_, value=value: value)
    monkeypatch.setattr(checks, "read_topic", one.topic)
    monkeypatch.setattr(checks, "MART", SimpleNamespace(versions=lambda _lake: one.versions))
    scan = Lake.scan

    def noted(lake: Lake, table: Any, columns: list[str], version: int, keys: Collection[str]) -> pa.Table:
        one.read.append(sorted(keys))
        return scan(lake, table, columns, version=version, keys=keys)

    monkeypatch.setattr(Lake, "scan", noted)
    states = SimpleNamespace(load=lambda: one.saved, save=lambda state: setattr(one, "saved", state))
    monkeypatch.setattr(checks, "SourceStates", lambda *_: states)
    return one


def test_a_day_of_equal_hours_is_read_once(shop: Shop) -> None:
    first, second = shop.check(), shop.check()
    assert first.passed and second.passed and shop.read == [list(DAYS), []]
    assert first.metadata["hours_compared"].value == second.metadata["hours_compared"].value == 3


def test_a_day_that_changed_is_compared_until_it_is_equal_again(shop: Shop) -> None:
    shop.check()
    shop.send(DAYS[1], 999)
    for _ in range(2):
        found = shop.check()
        assert not found.passed and "2026-03-02 00:00 UTC: revenue is 101" in str(found.description)
    shop.write(DAYS[1], 999)
    assert shop.check().passed and shop.check().passed
    assert shop.read[1:] == [[DAYS[1]], [DAYS[1]], [DAYS[1]], []]


def test_a_mart_that_was_written_again_is_compared_although_its_version_is_the_same(shop: Shop) -> None:
    shop.check()
    shop.write(DAYS[2], 5)
    assert not shop.check().passed and shop.read[-1] == [DAYS[2]]


def test_a_day_with_an_hour_that_is_left_out_is_counted_each_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "forgotten_hours", lambda *_: {start_of(DAYS[1])})
    for _ in range(2):
        found = shop.check()
        assert found.passed and found.metadata["hours_forgotten"].value == 1
        assert found.metadata["hours_compared"].value == 2


def test_a_day_with_an_hour_that_can_not_be_compared_yet_is_read_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_in(monkeypatch, checks, time, time=lambda: start_of(DAYS[2]) + 100.0)  # the last hour is open
    shop.versions[DAYS[0]] = 8  # the mart will follow
    found = shop.check()
    assert found.passed and found.metadata["hours_pending"].value == 2
    shop.check()
    assert shop.read[-1] == [DAYS[0], DAYS[2]]


def test_what_others_write_to_the_topic_does_not_end_the_check(shop: Shop) -> None:
    key = str(start_of(DAYS[0])).encode()
    for key_of_it, value in (
        (b"", b'{"start_ts": 3600}'),
        (key, b"no JSON"),
        (key, b"[]"),
        (b"\xff", b"{}"),
        (b"", b""),
    ):
        shop.sent.append(Record(0, 0, key_of_it, value, {}))
    found = shop.check()
    assert found.passed and found.metadata["hours_compared"].value == 3
    assert found.metadata["records_ignored"].value == 4, "the last one, without a value, deletes nothing"
    shop.sent.append(Record(0, 0, key, b"", {}))
    found = shop.check()
    assert found.description == "hour 2026-03-01 00:00 UTC: the mart has it, the topic does not"


def test_an_older_record_in_another_partition_is_no_difference(shop: Shop) -> None:
    shop.send(DAYS[1], 50, partition=3)  # read last, and perhaps older
    assert shop.check().passed
    shop.write(DAYS[1], 7)
    assert not shop.check().passed
    shop.send(DAYS[1], 7, partition=3)
    assert shop.check().passed
