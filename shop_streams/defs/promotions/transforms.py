"""Pure transforms of promotions: DataFrame in, DataFrame out."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.promotions.schema import RECORD_FIELDS
from shop_streams.streaming.records import parse_json, required, value_rules, with_reason

UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
LAST_SECOND = 253_402_300_799  # the end of the year 9999: milliseconds in place of seconds lie beyond
TEXTS = ("adv_campaign_content", "adv_campaign_owner", "adv_campaign_owner_contact")
TIMES = ("adv_campaign_datetime_start", "adv_campaign_datetime_end", "datetime_created")
IDS = ("restaurant_id", "adv_campaign_id")


def judge(records: DataFrame) -> DataFrame:
    """Records of `promotions` with `event` parsed and `reason` set for those that break a rule."""
    start, end = F.col("event.adv_campaign_datetime_start"), F.col("event.adv_campaign_datetime_end")
    rules = [
        *value_rules(),
        *required(*TEXTS, *TIMES, text=IDS),
        *[(~F.col(f"event.{name}").rlike(UUID), f"{name} is not a UUID") for name in IDS],
        *[(F.contains(f"event.{name}", F.lit("\0")), f"{name} holds a NUL character") for name in TEXTS],
        *[
            (~F.col(f"event.{name}").between(0, LAST_SECOND), f"{name} is not epoch seconds up to the year 9999")
            for name in TIMES
        ],
        (end <= start, "the campaign ends before it starts"),
    ]
    return with_reason(parse_json(records, RECORD_FIELDS), rules)


def rows(judged: DataFrame) -> DataFrame:
    """Columns of the table `promotions/campaigns`, and `reason`."""
    return judged.select(
        "reason",
        "event.restaurant_id",
        "event.adv_campaign_id",
        *[f"event.{name}" for name in (*TEXTS, *TIMES)],
        F.col("timestamp").alias("message_at"),
        F.to_date("timestamp").alias("message_date"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
    )
