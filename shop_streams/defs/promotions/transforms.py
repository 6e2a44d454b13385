"""Pure transforms of promotions: DataFrame in, DataFrame out."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shop_streams.defs.promotions.rules import CAMPAIGN, TEXTS, TIMES
from shop_streams.streaming.records import validate_records


def validate(records: DataFrame, first_day: str) -> DataFrame:
    """Records of `promotions` with `event`, or `reason` for those that break a rule."""
    return validate_records(records, CAMPAIGN, first_day)


def project(validated: DataFrame) -> DataFrame:
    """Columns of the table `promotions/campaigns`, and `reason`."""
    return validated.select(
        "reason",
        "event.restaurant_id",
        "event.adv_campaign_id",
        *[f"event.{name}" for name in (*TEXTS, *TIMES)],
        F.col("timestamp").alias("message_at"),
        F.to_date("timestamp").alias("message_date"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
    )
