"""Reports for assets that no run materializes: what the topics hold, and which dead letters are open."""

import time
from typing import Any

import dagster as dg
from confluent_kafka import KafkaException

from shop_streams.defs.domains import DOMAINS, STREAMS, TOPICS
from shop_streams.lake.asset import asset_key
from shop_streams.plain import plain
from shop_streams.settings import Settings
from shop_streams.streaming.condition import duration
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.letters import Letters
from shop_streams.streaming.priority import streams_first_now
from shop_streams.streaming.replay_ledger import open_ledger
from shop_streams.streaming.spec import topic_key
from shop_streams.topics import Topic, TopicExtent, topic_extent

REPORT_SECONDS = 600
TICK_SECONDS = 60  # the first report comes at most this long after the streams' start
SHOWN = 10
TEXT_WIDTH = 300
BY_REASON = f"""
select reason, count(*) as number, cast(sum(number) over () as bigint), count(*) over () from letters
 group by reason order by number desc, reason limit {SHOWN}
"""
NEWEST = f'select "at", origin, reason from letters order by "at" desc, origin limit {SHOWN}'


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


def letters_report(letters: Letters, replayed: set[str]) -> dg.AssetMaterialization:
    """The open dead letters: the most frequent reasons, and the newest letters.

    `replayed` holds origins, topic:partition:offset. The report has no values, because values expire in the table, and reports
    do not.
    """
    total, waiting = letters.total, ~letters.among(replayed)
    reasons = letters.ask(BY_REASON, ["reason"], waiting)
    newest = letters.ask(NEWEST, ["at", "origin", "reason"], waiting)
    _, _, opened, different = reasons[0] if reasons else (None, 0, 0, 0)
    tables = {
        "by_reason": [{"letters": count, "reason": plain(reason, TEXT_WIDTH)} for reason, count, *_ in reasons],
        "newest": [
            {"at": f"{at:%Y-%m-%d %H:%M:%S}", "origin": plain(origin, TEXT_WIDTH), "reason": plain(reason, TEXT_WIDTH)}
            for at, origin, reason in newest
        ],
    }
    return dg.AssetMaterialization(
        asset_key(DEAD_LETTERS),
        description=f"{opened:,} dead letters are open, of {total:,}, for {different} reasons.",
        metadata={"open": opened, "letters": total}
        | {
            name: dg.MetadataValue.table([dg.TableRecord(row) for row in rows]) for name, rows in tables.items() if rows
        },
    )


@dg.sensor(
    name="report_operations",
    minimum_interval_seconds=TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports every ten minutes what the topics hold and which dead letters are open. It starts no run.",
)
def report_operations(context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.SensorResult:
    now, last = time.time(), float(context.cursor or 0)
    # A report in the future: the clock was set back, and the next report is due.
    if last <= now < last + REPORT_SECONDS:
        return _skip(f"the next report is due in {last + REPORT_SECONDS - now:.0f} s", context.cursor)
    if wait := streams_first_now(context, settings):
        return _skip(wait, context.cursor)
    letters = Letters.of(settings)
    if letters.table is None:
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
