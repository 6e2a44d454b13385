"""The domain promotions: a restaurant's campaigns, and a notification of each to every subscriber, once."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.promotions.marts import MART
from shop_streams.defs.promotions.persons import PERSONS
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC, outbox_of
from shop_streams.defs.promotions.streams import FEEDBACK, NOTIFICATIONS, STREAM, SUBSCRIBERS
from shop_streams.defs.promotions.tables import create_subscribers
from shop_streams.domain import Domain
from shop_streams.streaming.factory import topic_asset
from shop_streams.streaming.spec import stream_key

OWNERS = ("team:marketing",)


def _external(key: dg.AssetKey, kinds: set[str], description: str, deps: list[dg.AssetKey]) -> dg.AssetSpec:
    return dg.AssetSpec(
        key, description=description, group_name="promotions", kinds=kinds, owners=list(OWNERS), deps=deps,
        tags={"shop_streams/stream": STREAM.name},
    )  # fmt: skip


DOMAIN = Domain(
    "promotions",
    owners=OWNERS,
    streams=(STREAM,),
    marts=(MART,),
    persons=PERSONS,
    create_shop_tables=create_subscribers,
    more_topics=(NOTIFICATIONS_TOPIC, outbox_of(NOTIFICATIONS_TOPIC)),
    more_assets=(
        _external(
            SUBSCRIBERS,
            {"postgres"},
            "One row is one client's favourite restaurant. The shop's table; it may change at any time.",
            [],
        ),
        _external(
            NOTIFICATIONS,
            {"postgres", "kafka"},
            "One row is one client's notification of one campaign, made once. PostgreSQL decides who is notified; "
            "Kafka gets the same rows.",
            [stream_key(STREAM)],
        ),
        _external(FEEDBACK, {"postgres"}, "One row is one notification, and the client's feedback.", [NOTIFICATIONS]),
        topic_asset(NOTIFICATIONS_TOPIC, "promotions", OWNERS).replace_attributes(deps=[NOTIFICATIONS]),
    ),
)

definitions = DOMAIN.definitions()
