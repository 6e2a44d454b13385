"""What the lineage says of topics and dead letters."""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dagster as dg
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from shop_streams.defs.platform import reports
from shop_streams.settings import Settings
from shop_streams.topics import Topic, TopicExtent, create_topics, topic_extent
from shop_streams_tests.harness import Stack, wait_for

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EMPTY = TopicExtent(2, 0, None, None)
ASSETS = 6  # the dead letters and five topics


def letters(reasons: list[str]) -> pa.Table:
    """The letter of offset n is n minutes younger than the first."""
    offsets = range(len(reasons))
    return pa.table(
        {
            "topic": pa.array(["t"] * len(reasons), pa.string()),
            "kafka_partition": pa.array([0] * len(reasons), pa.int32()),
            "kafka_offset": pa.array(offsets, pa.int64()),
            "reason": pa.array(reasons, pa.string()),
            "at": pa.array([NOW + timedelta(minutes=one) for one in offsets], pa.timestamp("us", "UTC")),
        }
    )


def rows(report: dg.AssetMaterialization, table: str) -> list[dict[str, Any]]:
    value = report.metadata[table]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_open_letters_are_told_by_reason_and_the_newest_by_origin() -> None:
    report = reports.letters_report(letters(["a"] * 3 + ["b"] * 20 + ["c"]), {"t:0:22", "t:0:99"})
    assert report.description == "23 dead letters are open, of 24, for 3 reasons."
    assert (report.metadata["open"].value, report.metadata["letters"].value) == (23, 24)
    assert rows(report, "by_reason") == [
        {"letters": 19, "reason": "b"}, {"letters": 3, "reason": "a"}, {"letters": 1, "reason": "c"},
    ]  # fmt: skip
    assert [row["origin"] for row in rows(report, "newest")] == [f"t:0:{n}" for n in (23, *range(21, 12, -1))]
    assert rows(report, "newest")[0] == {"at": "2026-03-01 00:23:00", "origin": "t:0:23", "reason": "c"}


def test_a_reason_from_outside_is_short_and_printable() -> None:
    report = reports.letters_report(letters(["poisoned: \x1b[31m" + "x" * 10_000]), set())
    for table in ("by_reason", "newest"):
        (row,) = rows(report, table)
        assert row["reason"].isprintable() and len(row["reason"]) == reports.TEXT_WIDTH


def test_a_letter_of_a_file_is_told_by_file_and_line() -> None:
    found = pa.table(
        {
            "topic": pa.array(["t", None, None]), "kafka_partition": pa.array([0, None, None], pa.int32()),
            "kafka_offset": pa.array([7, None, None], pa.int64()), "file": pa.array([None, "a.json", "b.parquet"]),
            "line": pa.array([None, 3, None], pa.int64()), "reason": pa.array(["r", "r", "r"]),
            "at": pa.array([datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (1, 2, 3)], pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip
    report = reports.letters_report(found, {"t:0:7"})
    assert [row["origin"] for row in rows(report, "newest")] == ["b.parquet", "a.json:3"]


def test_without_open_letters_there_is_nothing_to_list() -> None:
    for found in (letters([]), letters(["a"])):
        report = reports.letters_report(found, {"t:0:0"})
        assert report.metadata["open"].value == 0 and "newest" not in report.metadata


def test_a_topic_is_told_in_words_and_times() -> None:
    report = reports.topic_report(Topic("t", ""), TopicExtent(2, 1234, 1000.0, 8199.0), now=8200.0)
    assert report.asset_key == dg.AssetKey(["kafka", "t_topic"])
    assert report.description == "1,234 offsets in 2 partitions; the oldest record is 2 h old, the newest 1 s"
    assert report.metadata["newest_record"] == dg.MetadataValue.timestamp(8199.0)
    assert reports.topic_report(Topic("t", ""), EMPTY, 0.0).description == "0 offsets in 2 partitions"


def test_topics_of_the_lineage_are_reported_but_for_those_that_a_stream_reports() -> None:
    names = {topic.name for topic in reports.reported_topics()}
    assert names == {"events", "shop_events", "promotions", "promotion_notifications", "online_store"}


@dataclass
class Letters:
    """A lake with a table of dead letters, or without one; it counts how often it is read."""

    table: pa.Table
    scans: list[str] = field(default_factory=list)

    def scan(self, table: Any, _columns: list[str]) -> pa.Table:
        self.scans.append(table.path)
        return self.table


@pytest.mark.parametrize(
    ("waits", "since", "reported"),
    [(None, None, ASSETS), (None, 601, ASSETS), (None, 590, 0), ("streams first", None, 0)],
)
def test_a_report_is_due_every_ten_minutes_and_streams_come_first(
    waits: str | None, since: float | None, reported: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "streams_first_now", lambda _context, _settings: waits)
    monkeypatch.setattr(reports, "topic_extent", lambda _servers, _topic: EMPTY)
    cursor = None if since is None else str(time.time() - since)
    monkeypatch.setattr(reports, "open_ledger", lambda _settings: nullcontext(SimpleNamespace(sent=set)))
    lake = Letters(letters([]))
    result: Any = reports.report_operations(
        dg.build_sensor_context(cursor=cursor, resources={"settings": Settings(), "lake": lake})
    )
    assert len(result.asset_events) == reported and result.skip_reason.skip_message
    assert len(lake.scans) == (1 if reported else 0)
    assert (result.cursor != cursor) == bool(reported)


def test_nothing_is_reported_before_the_first_stream_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "streams_first_now", lambda _context, _settings: None)
    resources = {"settings": Settings(), "lake": Letters(pa.table({}))}
    result: Any = reports.report_operations(dg.build_sensor_context(resources=resources))
    assert not result.asset_events and result.cursor is None, "the next tick looks again"


def test_what_a_topic_holds_is_read_from_its_offsets(kafka: Settings) -> None:
    topic = Topic(f"extent-{uuid4().hex}", "", partitions=2)
    create_topics(kafka, (topic,))
    assert topic_extent(kafka.kafka, topic.name) == EMPTY
    producer = Producer({"bootstrap.servers": kafka.kafka})
    for partition, second in ((0, 1_700_000_005), (1, 1_700_000_002), (1, 1_700_000_009)):
        producer.produce(topic.name, b"{}", partition=partition, timestamp=second * 1000)
    producer.flush(30)
    assert topic_extent(kafka.kafka, topic.name) == TopicExtent(2, 3, 1_700_000_002.0, 1_700_000_009.0)


LATEST = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 1) { description runId } } } }"""


@pytest.mark.parametrize(
    ("path", "words"),
    [(["dead_letters"], "dead letters are open"), (["kafka", "events_topic"], "offsets in 2 partitions")],
)
def test_the_lineage_says_what_there_is(stack: Stack, path: list[str], words: str) -> None:
    def reported() -> bool:
        found = stack.graphql(LATEST, key={"path": path})["assetOrError"]
        return words in json.dumps(found.get("assetMaterializations", []))

    wait_for(f"a report of {path}", reported)
