"""Pure transforms of clickstream: DataFrame in, DataFrame out."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.clickstream.rules import click_rules
from shop_streams.streaming.records import RECORD_COLUMNS, validate_records

CLICK_COLUMNS = (*RECORD_COLUMNS, "key", "headers")
LAST_HEADER_TIME = 4_102_444_800_000  # milliseconds; the year 2100


def validate(records: DataFrame, first_day: str, item_path: str) -> DataFrame:
    """Records of `online_store` with `event`, or `reason` for those that break a rule."""
    return validate_records(records, click_rules(item_path), first_day, keep=CLICK_COLUMNS)


def project(validated: DataFrame) -> DataFrame:
    """Columns of the table `clickstream/clicks` but the hash. What other producers write into key and headers is null where it is junk."""
    clicked_at = F.timestamp_millis("event.timestamp")
    return validated.select(
        clicked_at.alias("clicked_at"),
        "event.event_type",
        "event.location",
        "event.shop",
        "event.item_id",
        _known("event.session_id").alias("session_id"),
        _text(F.col("key")).alias("party_id"),
        "event.price",
        "event.amount",
        F.col("event.order_price").try_cast("decimal(27,9)").alias("order_price"),
        "event.order_amount",
        *[_header(name).alias(name) for name in ("event_id", "page_view_id")],
        *[_time(_header(name)).alias(name) for name in ("received_at", "client_timestamp")],
        *[_flag(_header(name)).alias(name) for name in ("is_new_party", "is_first_in_session")],
        F.coalesce(_flag(_header("corrupt")), F.lit(False)).alias("corrupt"),
        *[_header(name).alias(name) for name in ("parameters", "referer", "viewport", "screen", "pixel_ratio")],
        F.to_date(clicked_at).alias("clicked_on"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
    ).withColumn("identity", _identity())


def _identity() -> Column:
    """Party, session and event id; null unless all three are known. As JSON, because each of them may have any character."""
    parts = ("party_id", "session_id", "event_id")
    known = F.concat(*parts).isNotNull()
    return F.when(known, F.to_json(F.array(*parts)))


def _header(name: str) -> Column:
    """The text of the last header with this name; null without one, or if it is empty or no UTF-8."""
    same = F.filter("headers", lambda header: header["key"] == name)
    return _text(F.try_element_at(same, F.lit(-1))["value"])


def _text(value: Column) -> Column:
    return _known(F.try_validate_utf8(value.cast("string")))


def _known(text: Column | str) -> Column:
    return F.nullif(F.col(text) if isinstance(text, str) else text, F.lit(""))


def _time(milliseconds: Column) -> Column:
    """A time from decimal milliseconds within the years 1970 to 2099, else null."""
    number = F.when(milliseconds.rlike(r"\A[0-9]{1,13}\z"), milliseconds).try_cast("bigint")
    return F.timestamp_millis(F.when(number < LAST_HEADER_TIME, number))


def _flag(text: Column) -> Column:
    return F.when(text == "true", True).when(text == "false", False)
