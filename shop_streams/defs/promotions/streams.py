"""The stream of promotions: campaigns from their topic to the lake, and a notification to each subscriber, once."""

from __future__ import annotations

import dagster as dg

from shop_streams import topics
from shop_streams.defs.partitions import promotions_days
from shop_streams.defs.promotions.checks import build_checks
from shop_streams.defs.promotions.outbox import Outbox
from shop_streams.defs.promotions.schema import CAMPAIGNS
from shop_streams.defs.promotions.sink import DOMAIN, CampaignSink
from shop_streams.lake.asset import asset_key
from shop_streams.streaming.factory import build_stream, topic_asset, topic_key
from shop_streams.streaming.spec import Beside, StreamSpec, stream_key

SUBSCRIBERS = dg.AssetKey(["postgres", "subscribers_restaurants"])
FEEDBACK = dg.AssetKey(["postgres", "subscribers_feedback"])
NOTIFICATIONS = dg.AssetKey(["promotions", "notifications"])
OWNERS = ("team:marketing",)

STREAM = StreamSpec(
    name="promotion_notifications",
    domain=DOMAIN,
    topic=topics.PROMOTIONS,
    sink=CampaignSink(),
    output=asset_key(CAMPAIGNS),
    description=CAMPAIGNS.rows_are,
    interval_seconds=lambda settings: settings.promotion_interval_seconds,
    max_offsets=lambda _settings: 500,  # a batch is collected, and a message may have 1 MiB
    reads=(SUBSCRIBERS,),
    beside=Beside(Outbox, NOTIFICATIONS),
    owners=OWNERS,
)


def _external(key: dg.AssetKey, kinds: set[str], description: str, deps: list[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        key, description=description, group_name=DOMAIN, kinds=kinds, owners=list(OWNERS), deps=deps,
        tags={"shop_streams/stream": STREAM.name},
    )  # fmt: skip


definitions = dg.Definitions.merge(
    dg.Definitions(
        assets=[
            topic_asset(topics.PROMOTIONS, DOMAIN),
            _external(
                SUBSCRIBERS,
                {"postgres"},
                "One row is one client's favourite restaurant. The shop's own table; it changes at any moment.",
                [],
            ),
            _external(
                NOTIFICATIONS,
                {"postgres", "kafka"},
                "One row is one client's notification of one campaign, made once. Decided in PostgreSQL, carried to Kafka: "
                "both hold the same rows.",
                [stream_key(STREAM)],
            ),
            _external(
                FEEDBACK, {"postgres"}, "One row is one notification, and what the client said to it.", [NOTIFICATIONS]
            ),
            topic_asset(topics.PROMOTION_NOTIFICATIONS, DOMAIN).replace_attributes(deps=[NOTIFICATIONS]),
        ],
        # On the topic: Dagster calls a check outdated at each report of its asset, and the notifications have one a minute.
        asset_checks=build_checks(topic_key(topics.PROMOTION_NOTIFICATIONS)),
    ),
    build_stream(STREAM, promotions_days),
)
