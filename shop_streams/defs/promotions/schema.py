"""Tables and topics of promotions."""

from __future__ import annotations

from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.topics import APPEND_TIME, Topic

_CAMPAIGN = (
    Column("restaurant_id", "string", "UUID, in lower case"),
    Column("adv_campaign_id", "string", "UUID, in lower case"),
    Column("adv_campaign_content", "string", "the text that the client reads"),
    Column("adv_campaign_owner", "string", "who runs the campaign"),
    Column("adv_campaign_owner_contact", "string", "how to reach its owner"),
    Column("adv_campaign_datetime_start", "bigint", "epoch seconds, inclusive"),
    Column("adv_campaign_datetime_end", "bigint", "epoch seconds, exclusive"),
)

CAMPAIGNS = Table(
    path="promotions/campaigns",
    columns=(
        *_CAMPAIGN,
        Column("datetime_created", "bigint", "epoch seconds; the newer message of a campaign replaces the older"),
        Column("message_at", "timestamp", "the broker's time of the message, UTC"),
        Column("message_date", "date", "day of message_at, UTC"),
        *ORIGIN_COLUMNS,
    ),
    partition_by=("message_date",),
    rows_are="One row is one accepted campaign message; a later one may amend the same campaign.",
)

REPORT = Table(
    path="promotions/campaign_report",
    columns=(
        Column("adv_campaign_id", "string", "UUID, in lower case"),
        Column("restaurant_id", "string", "UUID, in lower case"),
        Column("clients_notified", "bigint", "clients who were notified on this day"),
        Column(
            "seconds_to_notification_p50",
            "double",
            "median, from the campaign's message, or its start if that is later",
        ),
        Column("seconds_to_notification_p95", "double", "95th percentile of the same"),
        Column("feedback_given", "bigint", "how many of these clients had given feedback when the report was made"),
        Column("report_date", "date", "day on which the notifications were made, UTC"),
        Column(
            "source_rows",
            "bigint",
            "the day's source version: its notifications and feedback, and a checksum of deleted ones",
        ),
    ),
    partition_by=("report_date",),
    rows_are="One row is one campaign on one day: how many clients were notified, how soon, and how many gave feedback.",
)


PROMOTIONS_TOPIC = Topic(
    "promotions",
    "One record is one message of a restaurant about its campaign; the key means nothing.",
    APPEND_TIME,  # it also decides between two messages of a campaign with the same datetime_created
)
NOTIFICATION_BYTES = 2_097_152  # a campaign has up to 1 MiB, Kafka's usual limit; the client's part is added
NOTIFICATIONS_TOPIC = Topic(
    "promotion_notifications",
    "One record is one client's notification of one campaign, sent once; key = adv_campaign_id:client_id.",
    {"max.message.bytes": str(NOTIFICATION_BYTES)},
)


def outbox_of(topic: Topic) -> Topic:
    """The topic that holds the last published sequence number of `topic`."""
    return Topic(
        f"{topic.name}_outbox",
        f"One record is a sequence number of an outbox (the key): its notifications up to that number are in topic {topic.name}.",
        {"cleanup.policy": "compact", "segment.ms": "86400000"},  # managed clusters refuse a small `segment.bytes`
        partitions=1,
    )
