"""Tables and topics of sales."""

from __future__ import annotations

from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.topics import APPEND_TIME, Topic

SHOP_EVENTS = Table(
    path="sales/shop_events",
    columns=(
        Column("event_type", "string", "view or buy"),
        Column("category", "string", "category of the item; null or empty when the client did not send it"),
        Column("item_id", "string", "the item that was viewed or bought; null when the client did not send it"),
        Column("item_price", "bigint", "its price, a whole number from 0 to 10^12"),
        Column("uid", "string", "null for an anonymous visitor"),
        Column("event_time", "timestamp", "from the data, UTC, milliseconds"),
        Column("event_date", "date", "day of event_time, UTC"),
        *ORIGIN_COLUMNS,
        Column(
            "event_id", "string", "the client's UUID, in lower case, or one that the collector made; null without one"
        ),
    ),
    partition_by=("event_date",),
    rows_are="One row is one view or purchase: one record of the topic. A client's retry may repeat an event_id; the mart "
    "counts it once.",
    identity="event_id",
)

HOURLY = Table(
    path="sales/hourly_metrics",
    columns=(
        Column("start_ts", "bigint", "beginning of the hour, epoch seconds, inclusive"),
        Column("end_ts", "bigint", "end of the hour, epoch seconds, exclusive"),
        Column("revenue", "decimal(38,0)", "sum of item_price over purchases, exact"),
        Column("visitors", "bigint", "events with a uid, views and purchases, not distinct"),
        Column("purchases", "bigint", "events of the type buy"),
        Column("aov", "double", "average order value: revenue / purchases, null without a purchase"),
        Column("unique_visitors", "bigint", "distinct uids, exact"),
        Column("repeats", "bigint", "events that this row does not count: their event_id came in the 7 days before"),
        Column("repeats_revenue", "decimal(38,0)", "revenue of the repeats; the topic counts it"),
        Column("repeats_visitors", "bigint", "visitors of the repeats; the topic counts them"),
        Column("repeats_purchases", "bigint", "purchases of the repeats; the topic counts them"),
        Column("event_date", "date", "day of start_ts, UTC"),
        Column(
            "source_rows",
            "bigint",
            "the day's source version: its rows, the rows with an event_id of the 7 days before, a checksum of the window offset",
        ),
    ),
    partition_by=("event_date",),
    rows_are="One row is one hour of the shop: revenue, visitors, purchases, average order value.",
)


SHOP_EVENTS_TOPIC = Topic(
    "shop_events", "One record is one view or purchase in the shop; any producer may write it.", APPEND_TIME
)

HOURLY_TOPIC = Topic(
    "hourly_metrics",
    "One record is an hour's revenue, visitors, purchases and average order value; key = start_ts, the last record of a key is the valid one.",
    {"cleanup.policy": "compact"},
)
