"""`shop-streams aggregate`: runs the application on the stack's Spark and shows its progress."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from pyspark.errors import PySparkException
from rich.console import Console

from shop_streams.defs.domains import TOPICS
from shop_streams.defs.sales import aggregate
from shop_streams.defs.sales.schema import HOURLY_TOPIC
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import admin, offset_ranges
from shop_streams.kafka_access import refusal, require_access
from shop_streams.settings import Settings
from shop_streams.spark import open_session
from shop_streams.streaming import identity
from shop_streams.streaming.checkpoint import CheckpointMetadata, committed_offsets
from shop_streams.streaming.query import SparkGone, probe_spark
from shop_streams.terminal import speaker
from shop_streams.topics import Topic, broker_time_problem, create_topics, topic_settings

SEND_SOME = "Send some (`shop-streams simulate sales --count 1000`), then try again."


def run_aggregate(
    settings: Settings,
    console: Console,
    in_topic: str,
    out_topic: str,
    until_caught_up: bool,
    checkpoint: str | None,
    anchor: str,
    first_day: date | None = None,
) -> None:
    """Run until the topic is read (`until_caught_up`) or until Ctrl-C.

    Raises:
        ShopStreamsError: Kafka or Spark is down, the topic does not exist or is empty, or the query failed.
    """
    sources = {topic.name for topic in TOPICS} - {HOURLY_TOPIC.name}
    if out_topic == in_topic or out_topic in sources:
        raise ShopStreamsError(f"--out-topic {out_topic} holds records that streams read; name another topic.")
    _check(settings, in_topic)
    if until_caught_up and all(low == high for low, high in offset_ranges(settings.kafka, in_topic).values()):
        raise ShopStreamsError(f"Topic {in_topic} holds no event. {SEND_SOME}")
    with suppress(KafkaException):  # advice; the user may lack the right to read a topic's settings
        if problem := broker_time_problem(in_topic, topic_settings(settings.kafka, in_topic), settings.kafka):
            speaker(console)(problem)
    create_topics(settings, (Topic(out_topic, "", {"cleanup.policy": "compact"}),))
    scratch = settings.home / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    throw_away = None if checkpoint else tempfile.mkdtemp(prefix="aggregate-", dir=scratch)
    folder = checkpoint or throw_away
    assert folder is not None
    folder = folder if "://" in folder else str(Path(folder).resolve())
    try:
        session = open_session(settings)
        aggregate.require_same_topic(session, in_topic, folder)
        metadata = CheckpointMetadata(session, folder)
        identity.require_unchanged(
            metadata, settings.kafka, in_topic, committed_offsets(folder, in_topic), "Give another --checkpoint folder."
        )
        query = aggregate.start(
            session, settings.kafka, in_topic, out_topic, folder, anchor, until_caught_up,
            (first_day or settings.first_day).isoformat(),
        )  # fmt: skip
        _follow(query, console)
    except aggregate.NoEvents as error:
        raise ShopStreamsError(f"{error}. {SEND_SOME}") from error
    except aggregate.AnotherCheckpoint as error:
        raise ShopStreamsError(f"{error}.") from error
    except PySparkException as error:
        if refused := refusal(settings.kafka, str(error)):
            raise refused from None
        raise ShopStreamsError(f"The aggregation failed: {aggregate.one_line(error)}") from error
    finally:
        if throw_away:
            shutil.rmtree(throw_away, ignore_errors=True)


def _check(settings: Settings, in_topic: str) -> None:
    try:
        require_access(settings.kafka, [in_topic], ("Read", "Describe"))
        topics = admin(settings.kafka).list_topics(timeout=5).topics
    except KafkaException as error:
        raise ShopStreamsError(settings.kafka.no_answer) from error
    if in_topic not in topics:
        raise ShopStreamsError(
            f"There is no topic {in_topic!r} at {settings.kafka}; it has {', '.join(sorted(topics)) or 'none'}."
        )
    try:
        probe_spark(settings)
    except SparkGone as error:
        raise ShopStreamsError(f"{error}. Start the stack with `make up`, or set SHOP_STREAMS_SPARK_REMOTE.") from error


def _follow(query: Any, console: Console) -> None:
    started = time.monotonic()
    tally = aggregate.Tally()
    try:
        with console.status("aggregating …") as status:
            while query.isActive:
                query.awaitTermination(1)
                tally.add([progress.json for progress in query.recentProgress])
                status.update(f"{tally.read:,} events read after {time.monotonic() - started:.0f} s")
    except KeyboardInterrupt:
        query.stop()
        console.print("Stopped. The checkpoint is complete up to the last batch.")
    problem = query.exception()
    if problem is not None:
        raise ShopStreamsError(f"The aggregation failed: {aggregate.one_line(problem)}")
    tally.add([progress.json for progress in query.recentProgress])
    for line in tally.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{time.monotonic() - started:.1f} s.")
    if not tally.read:
        console.print("Nothing was sent: there was no event that the checkpoint had not read.")
    elif tally.read == tally.refused:
        raise ShopStreamsError("Nothing was sent: every event was refused, for the reasons above.")
