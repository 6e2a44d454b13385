"""Statistics of a half hour from its clicks, and the depth of its page views. Pure functions: DataFrame in, DataFrame out.

A click is sound if it is not corrupt and no repeat. A repeat has the identity of an earlier click that is not corrupt, at
most 7 days before. Earlier means: by (clicked_at, kafka_partition, kafka_offset). A click without an identity can't be told
apart from others, so it is never a repeat.

A session is the session id alone, whoever sent it: the id contains a time and a random number, and a record's value has no
other key. An identity contains its session id, so all copies of a click are in one session. A click without a session id
stands alone.

A visit is a part of a session. Any sound click continues it, up to 30 minutes after the one before; a later one begins a
new visit. The depth of a page view is the number of page views of its visit up to and including this one. Clicks before
(beginning of the half hour - session_hours) are not counted: a visit that is longer counts from there. They are read only
to find repeats.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from shop_streams.defs.clickstream.schema import MAX_ITEM_ID, MAX_SHOP, PAGE_VIEW
from shop_streams.streaming.accounting import REPEAT_HORIZON

VISIT_GAP = timedelta(minutes=30)
_ORDER = ("clicked_at", "kafka_partition", "kafka_offset")
_SESSION = ("session_id", "_alone")


def read_since(start: datetime, session_hours: int) -> datetime:
    """The earliest click that the half hour from `start` reads: with its copies."""
    return start - timedelta(hours=session_hours) - REPEAT_HORIZON


def item_stats(clicks: DataFrame, start: datetime, end: datetime, session_hours: int) -> DataFrame:
    """One row for each item with sound clicks in [start, end): shop, item_id, views, deep, orders, order_sum.

    `clicks` has the rows of the table of clicks from `read_since` on. It may lack earlier clicks of sessions without a
    click in [start, end), and may have clicks outside.
    """
    read = _between(clicks, read_since(start, session_hours), end)
    since = start - timedelta(hours=session_hours)
    return count_items(_between(with_depth(_between(without_repeats(read), since, end)), start, end))


def without_repeats(clicks: DataFrame) -> DataFrame:
    """The sound clicks, each once, with `_alone`: what tells clicks without a session id apart."""
    origin = F.concat_ws(":", "kafka_partition", "kafka_offset")
    alone = F.when(F.col("session_id").isNull(), F.coalesce("identity", origin))
    copies = Window.partitionBy(*_SESSION, "identity").orderBy(*_ORDER)
    again = F.col("identity").isNotNull() & (_micros() - F.lag(_micros()).over(copies) <= _length(REPEAT_HORIZON))
    return (
        clicks.where(~F.coalesce("corrupt", F.lit(False)))
        .withColumn("_alone", alone)
        .repartition(*_SESSION)  # one shuffle for the copies and the visits
        .withColumn("_again", again)
        .where(~F.coalesce("_again", F.lit(False)))
        .drop("_again")
    )


def with_depth(sound: DataFrame) -> DataFrame:
    """The sound clicks with `depth`: the number of page views of the visit up to and including this click."""
    session = Window.partitionBy(*_SESSION).orderBy(*_ORDER)
    begins = _micros() - F.lag(_micros()).over(session) > _length(VISIT_GAP)
    views = F.sum((F.coalesce("event_type", F.lit("")) == PAGE_VIEW).cast("int"))
    to_here = (Window.unboundedPreceding, Window.currentRow)
    visit = Window.partitionBy(*_SESSION, "_visit").orderBy(*_ORDER).rowsBetween(*to_here)
    return (
        sound.withColumn("_begins", F.coalesce(begins, F.lit(False)).cast("int"))
        .withColumn("_visit", F.sum("_begins").over(session.rowsBetween(*to_here)))
        .withColumn("depth", views.over(visit))
        .drop("_begins", "_visit")
    )


def count_items(deep: DataFrame) -> DataFrame:
    """The statistics of each item, from sound clicks with `depth`.

    The sum of money is exact as a decimal. If it has more than 29 digits before the point, it is computed with doubles:
    a public endpoint must not make a half hour fail.
    """
    viewed = F.col("event_type") == PAGE_VIEW
    money = F.col("order_price") * F.col("order_amount")
    exact, rounded = F.try_sum(money).cast("double"), F.sum(money.cast("double"))
    return (
        deep.where(F.col("shop").isNotNull() & F.col("item_id").isNotNull())
        .where(viewed | F.col("order_amount").isNotNull())
        .groupBy(_key("shop", MAX_SHOP), _key("item_id", MAX_ITEM_ID))
        .agg(
            F.count_if(viewed).alias("views"),
            F.avg(F.when(viewed, F.col("depth"))).alias("deep"),
            F.coalesce(F.sum(F.col("order_amount").cast("bigint")), F.lit(0)).alias("orders"),
            F.coalesce(exact, rounded, F.lit(0.0)).alias("order_sum"),
        )
    )


def _key(name: str, characters: int) -> Column:
    """A text that PostgreSQL takes as a key: it can't store a NUL."""
    return F.left(F.translate(F.col(name), "\x00", "\ufffd"), F.lit(characters)).alias(name)


def _between(clicks: DataFrame, start: datetime, end: datetime) -> DataFrame:
    return clicks.where((F.col("clicked_at") >= start) & (F.col("clicked_at") < end))


def _micros() -> Column:
    return F.unix_micros("clicked_at")


def _length(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
