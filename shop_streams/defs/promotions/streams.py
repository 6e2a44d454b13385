"""The stream of promotions: campaigns from their topic to the lake, and a notification to each subscriber, once."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.promotions.outbox import Outbox
from shop_streams.defs.promotions.partitions import days
from shop_streams.defs.promotions.schema import PROMOTIONS_TOPIC
from shop_streams.defs.promotions.sink import DOMAIN, CampaignSink
from shop_streams.streaming.spec import SidecarSpec, StreamSpec

SUBSCRIBERS = dg.AssetKey(["postgres", "subscribers_restaurants"])
FEEDBACK = dg.AssetKey(["postgres", "subscribers_feedback"])
NOTIFICATIONS = dg.AssetKey(["promotions", "notifications"])

STREAM = StreamSpec(
    name="promotion_notifications",
    domain=DOMAIN,
    topic=PROMOTIONS_TOPIC,
    sink=CampaignSink(),
    interval_seconds=lambda settings: settings.promotion_interval_seconds,
    max_offsets=lambda _settings: 500,  # a batch is collected, and a message may have 1 MiB
    reads=(SUBSCRIBERS,),
    sidecar=SidecarSpec(Outbox, NOTIFICATIONS),
    partitions=days,
)
