"""What an earlier version wrote of clicks, this one goes on with: its table, checkpoint, statistics, and what it had compared."""

import json
import tarfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Producer

from shop_streams.defs.clickstream.click_files import ClickFiles
from shop_streams.defs.clickstream.marts import MART, ClickSource
from shop_streams.defs.clickstream.schema import CLICKS, ITEM_STATS
from shop_streams.defs.clickstream.streams import INGEST
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.marts.states import SourceStates
from shop_streams.streaming.sinks import LakeSink
from shop_streams.topics import create_topics
from shop_streams_tests.fixtures import upgrade_clicks
from shop_streams_tests.harness import Stack
from shop_streams_tests.streaming.test_upgrade import add_letter, run

FIXTURE = Path(__file__).parents[2] / "fixtures" / "clicks_of_3ef5217.tar.gz"
STATE = "upgraded_clicks_state.json"  # in the archive: what the earlier version had compared
TABLE = replace(CLICKS, path="upgraded/clicks")
STATS = replace(ITEM_STATS, path="upgraded/item_stats")
STREAM = replace(
    INGEST,
    name="upgraded_clicks",
    topic=replace(INGEST.topic, name="upgraded_clicks"),
    sink=replace(cast(LakeSink, INGEST.sink), table=TABLE),
)
UPGRADED = replace(MART, table=STATS, source=ClickSource(TABLE, mart=STATS.path), serve=None, totals=lambda *_: {})


def send(stack: Stack, records: list[upgrade_clicks.Record]) -> None:
    """All to one partition of the topic, so that each has the offset that the fixture knows."""
    create_topics(stack.settings, (STREAM.topic,))
    producer = Producer({"bootstrap.servers": stack.settings.kafka})
    for key, value, headers in records:
        producer.produce(STREAM.topic.name, value, key=key, headers=cast(Any, headers), partition=0)
    assert producer.flush(30) == 0


def test_clicks_of_an_earlier_version_continue(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(stack.settings.lake, filter="data")
    states = SourceStates(stack.settings.postgres, STATS.path)
    states.save(json.loads(Path(stack.settings.lake, STATE).read_text()))
    lake, uri = Lake(stack.settings), TABLE.uri(stack.settings)
    assert UPGRADED.versions(lake) == UPGRADED.recorded(lake), "the fixture's half hours are up to date"
    assert sorted(UPGRADED.recorded(lake)) == upgrade_clicks.BEFORE

    first, later = upgrade_clicks.first(), upgrade_clicks.later()
    send(stack, [*first, *later])
    add_letter(stack, STREAM.domain, STREAM.topic.name, offset=7)
    run(stack, STREAM)
    assert sorted(reader.scan(uri, ["event_id"])["event_id"].to_pylist()) == [
        f"0:e:{number}" for number in (1, 1, 2, 3, 4, 5, 6, 7, 8)
    ], "each record once; the first one was sent twice"

    counted: set[str] = set()
    counts = ClickFiles.counts

    def spy(files: ClickFiles, snapshot: int, days: Collection[str]) -> Any:
        counted.update(days)
        return counts(files, snapshot, days)

    monkeypatch.setattr(ClickFiles, "counts", spy)
    versions, recorded = UPGRADED.versions(lake), UPGRADED.recorded(lake)
    assert sorted(key for key, now in versions.items() if recorded.get(key) != now) == upgrade_clicks.CHANGED
    assert counted == {"2026-03-01", "2026-03-04"}, "other days are not read: the saved comparison goes on"
