"""What the lineage says of topics and dead letters."""

import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dagster as dg
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

from shop_streams.defs.platform import reports
from shop_streams.settings import Settings
from shop_streams.streaming.letters import Letters
from shop_streams.topics import Topic, TopicExtent, create_topics, topic_extent
from shop_streams_tests.streaming.letter_table import create_letters
from shop_streams_tests.streaming.letters import many
from shop_streams_tests.streaming.passing import watch

NOW = datetime(2026, 3, 1, tzinfo=UTC)
EMPTY = TopicExtent(2, 0, None, None)
ASSETS = 6  # the dead letters and five topics


def letters(folder: Path, reasons: list[str]) -> Letters:
    """The letter of offset n is n minutes younger than the first. The table is one of an earlier version: without `file`."""
    offsets = range(len(reasons))
    rows = pa.table(
        {
            "topic": pa.array(["t"] * len(reasons), pa.string()),
            "kafka_partition": pa.array([0] * len(reasons), pa.int32()),
            "kafka_offset": pa.array(offsets, pa.int64()),
            "reason": pa.array(reasons, pa.string()),
            "at": pa.array([NOW + timedelta(minutes=one) for one in offsets], pa.timestamp("us", "UTC")),
        }
    )
    write_deltalake(folder, rows)
    return Letters(DeltaTable(folder))


def rows(report: dg.AssetMaterialization, table: str) -> list[dict[str, Any]]:
    value = report.metadata[table]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_open_letters_are_told_by_reason_and_the_newest_by_origin(tmp_path: Path) -> None:
    report = reports.letters_report(letters(tmp_path, ["a"] * 3 + ["b"] * 20 + ["c"]), {"t:0:22", "t:0:99"})
    assert report.description == "23 dead letters are open, of 24, for 3 reasons."
    assert (report.metadata["open"].value, report.metadata["letters"].value) == (23, 24)
    assert rows(report, "by_reason") == [
        {"letters": 19, "reason": "b"}, {"letters": 3, "reason": "a"}, {"letters": 1, "reason": "c"},
    ]  # fmt: skip
    assert [row["origin"] for row in rows(report, "newest")] == [f"t:0:{n}" for n in (23, *range(21, 12, -1))]
    assert rows(report, "newest")[0] == {"at": "2026-03-01 00:23:00", "origin": "t:0:23", "reason": "c"}


def test_a_report_of_many_letters_keeps_few_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, passing = many(tmp_path, 50), watch(monkeypatch)
    report = reports.letters_report(found, {"t:0:0"})
    assert report.metadata["open"].value == found.total - 1 and len(rows(report, "newest")) == reports.SHOWN
    assert passing.rows("reason") == 2 * (found.total - 1), "once to count reasons, and once to find the newest letters"
    assert passing.peak < passing.bytes / 10, "most batches are gone before the last one comes"


def test_a_reason_from_outside_is_short_and_printable(tmp_path: Path) -> None:
    report = reports.letters_report(letters(tmp_path, ["poisoned: \x1b[31m" + "x" * 10_000]), set())
    for table in ("by_reason", "newest"):
        (row,) = rows(report, table)
        assert row["reason"].isprintable() and len(row["reason"]) == reports.TEXT_WIDTH


def test_a_letter_of_a_file_is_told_by_file_and_line(tmp_path: Path) -> None:
    found = pa.table(
        {
            "topic": pa.array(["t", None, None]), "kafka_partition": pa.array([0, None, None], pa.int32()),
            "kafka_offset": pa.array([7, None, None], pa.int64()), "file": pa.array([None, "a.json", "b.parquet"]),
            "line": pa.array([None, 3, None], pa.int64()), "reason": pa.array(["r", "r", "r"]),
            "at": pa.array([datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (1, 2, 3)], pa.timestamp("us", "UTC")),
        }
    )  # fmt: skip
    write_deltalake(tmp_path, found)
    report = reports.letters_report(Letters(DeltaTable(tmp_path)), {"t:0:7"})
    assert [row["origin"] for row in rows(report, "newest")] == ["b.parquet", "a.json:3"]


def test_without_open_letters_there_is_nothing_to_list(tmp_path: Path) -> None:
    for found in (letters(tmp_path / "none", []), letters(tmp_path / "one", ["a"])):
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


@pytest.mark.parametrize(
    ("waits", "since", "reported"),
    [(None, None, ASSETS), (None, 601, ASSETS), (None, 590, 0), ("streams first", None, 0), (None, -5 * 3600, ASSETS)],
    ids=["the first", "due", "too early", "streams first", "the clock was set back by hours"],
)
def test_a_report_is_due_every_ten_minutes_and_streams_come_first(
    waits: str | None, since: float | None, reported: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reports, "streams_first_now", lambda _context, _settings: waits)
    monkeypatch.setattr(reports, "topic_extent", lambda _servers, _topic: EMPTY)
    cursor = None if since is None else str(time.time() - since)
    monkeypatch.setattr(reports, "open_ledger", lambda _settings: nullcontext(SimpleNamespace(sent=set)))
    settings = Settings(home=tmp_path, lake_uri=str(tmp_path))
    if reported:  # otherwise the table is not looked at
        create_letters(settings)
    result: Any = reports.report_operations(dg.build_sensor_context(cursor=cursor, resources={"settings": settings}))
    assert len(result.asset_events) == reported and result.skip_reason.skip_message
    assert "no stream has created" not in result.skip_reason.skip_message
    assert (result.cursor != cursor) == bool(reported)


def test_nothing_is_reported_before_the_first_stream_has_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reports, "streams_first_now", lambda _context, _settings: None)
    resources = {"settings": Settings(home=tmp_path, lake_uri=str(tmp_path))}
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
