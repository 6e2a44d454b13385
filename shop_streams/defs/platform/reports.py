"""Reports for assets that no run materializes: what the topics hold, and which dead letters are open."""

import time
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaException

from shop_streams.defs.domains import DOMAINS, STREAMS, TOPICS
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.plain import plain
from shop_streams.settings import Settings
from shop_streams.streaming.condition import duration
from shop_streams.streaming.dead_letters import DEAD_LETTERS, stored_columns
from shop_streams.streaming.priority import streams_first_now
from shop_streams.streaming.replay_ledger import open_ledger
from shop_streams.streaming.spec import topic_key
from shop_streams.topics import Topic, TopicExtent, topic_extent

REPORT_SECONDS = 600
TICK_SECONDS = 60  # the first report comes at most this long after the streams' start
SHOWN = 10
TEXT_WIDTH = 300
ORIGIN = ("topic", "kafka_partition", "kafka_offset")


def reported_topics() -> list[Topic]:
    """The topics in the lineage that no stream writes. A stream reports the topic that it writes."""
    shown = {topic_key(stream.topic) for stream in STREAMS}
    shown |= {asset.key for domain in DOMAINS for asset in domain.more_assets}
    return [topic for topic in TOPICS if topic_key(topic) in shown]


def topic_report(topic: Topic, extent: TopicExtent, now: float) -> dg.AssetMaterialization:
    """What the topic holds. `now` is in epoch seconds."""
    told = f"{extent.offsets:,} offsets in {extent.partitions} partitions"
    metadata: dict[str, Any] = {"offsets": extent.offsets, "partitions": str(extent.partitions)}
    if extent.oldest is not None and extent.newest is not None:
        told += (
            f"; the oldest record is {duration(now - extent.oldest)} old, the newest {duration(now - extent.newest)}"
        )
        metadata["oldest_record"] = dg.MetadataValue.timestamp(extent.oldest)
        metadata["newest_record"] = dg.MetadataValue.timestamp(extent.newest)
    return dg.AssetMaterialization(topic_key(topic), description=told, metadata=metadata)


def letters_report(letters: pa.Table, replayed: set[str]) -> dg.AssetMaterialization:
    """The open dead letters: the most frequent reasons, and the newest letters.

    `letters` has the columns of `ORIGIN`, reason and at, and file and line; `replayed` holds origins, topic:partition:offset.
    The report has no values, because values expire in the table, and reports do not.
    """

    def joined(*names: str) -> pa.ChunkedArray:
        return pc.binary_join_element_wise(*[pc.cast(letters[name], pa.string()) for name in names], ":")

    origins = joined(*ORIGIN)
    if "file" in letters.column_names:  # one of an earlier version lacks it
        origins = pc.coalesce(origins, joined("file", "line"), letters["file"])
    letters = letters.append_column("origin", origins)
    sent = pc.is_in(letters["origin"], value_set=pa.array(sorted(replayed), pa.string()))
    waiting = letters.filter(pc.invert(sent))
    reasons = waiting.group_by("reason").aggregate([("at", "count")]).sort_by([("at_count", "descending")])
    newest = waiting.sort_by([("at", "descending")])
    tables = {
        "by_reason": [{"letters": row["at_count"], "reason": row["reason"]} for row in _first(reasons)],
        "newest": [
            {"at": f"{row['at']:%Y-%m-%d %H:%M:%S}", "origin": row["origin"], "reason": row["reason"]}
            for row in _first(newest)
        ],
    }
    return dg.AssetMaterialization(
        asset_key(DEAD_LETTERS),
        description=f"{waiting.num_rows:,} dead letters are open, of {letters.num_rows:,}, for {reasons.num_rows} reasons.",
        metadata={"open": waiting.num_rows, "letters": letters.num_rows}
        | {
            name: dg.MetadataValue.table([dg.TableRecord(row) for row in rows]) for name, rows in tables.items() if rows
        },
    )


def _first(rows: pa.Table) -> list[dict[str, Any]]:
    """The first rows, with their texts shortened and made printable."""
    texts = ("reason", "origin")
    return [
        {name: plain(value, TEXT_WIDTH) if name in texts else value for name, value in row.items()}
        for row in rows.slice(0, SHOWN).to_pylist()
    ]


@dg.sensor(
    name="report_operations",
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports every ten minutes what the topics hold and which dead letters are open. It starts no run.",
)
def report_operations(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], lake: dg.ResourceParam[Lake]
) -> dg.SensorResult:
    now = time.time()
    due = float(context.cursor or 0) + REPORT_SECONDS
    if now < due:
        return _skip(f"the next report is due in {due - now:.0f} s", context.cursor)
    if wait := streams_first_now(context, settings):
        return _skip(wait, context.cursor)
    there = set(stored_columns(settings))
    letters = lake.scan(DEAD_LETTERS, [name for name in (*ORIGIN, "file", "line", "reason", "at") if name in there])
    if not letters.num_columns:
        return _skip("waiting: no stream has created the table of dead letters yet", context.cursor)
    with open_ledger(settings) as ledger:
        events = [letters_report(letters, ledger.sent())]
    problems = []
    for topic in reported_topics():
        try:
            events.append(topic_report(topic, topic_extent(settings.kafka, topic.name), now))
        except KafkaException as error:
            problems.append(f"{topic.name}: {error.args[0]}")
    told = f"reported {len(events)} assets" + "".join(f"; {problem}" for problem in problems)
    return dg.SensorResult(skip_reason=dg.SkipReason(told), asset_events=events, cursor=str(now))


def _skip(why: str, cursor: str | None) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=cursor)


definitions = dg.Definitions(sensors=[report_operations])
