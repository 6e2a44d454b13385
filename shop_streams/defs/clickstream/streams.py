"""The stream of clickstream: topic `online_store` to Delta."""

from __future__ import annotations

from shop_streams.defs.clickstream import transforms
from shop_streams.defs.clickstream.partitions import days
from shop_streams.defs.clickstream.schema import CLICKS, CLICKS_TOPIC
from shop_streams.streaming.spec import lake_stream

INGEST = lake_stream(
    name="clicks_ingest",
    topic=CLICKS_TOPIC,
    table=CLICKS,
    validate=transforms.validate,
    project=transforms.project,
    parameters=lambda settings: {"item_path": settings.item_path},
    partitions=days,
    record_columns=transforms.CLICK_COLUMNS,
    interval_seconds=lambda settings: settings.click_interval_seconds,
)
