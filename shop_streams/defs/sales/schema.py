"""Tables of sales."""

from __future__ import annotations

from shop_streams.lake.table import Column, Table

SHOP_EVENTS = Table(
    path="sales/shop_events",
    columns=(
        Column("event_type", "string", "view or buy"),
        Column("category", "string"),
        Column("item_id", "string"),
        Column("item_price", "bigint"),
        Column("uid", "string", "null for an anonymous visitor"),
        Column("event_time", "timestamp", "from the data, UTC, milliseconds"),
        Column("event_date", "date", "UTC"),
        Column("kafka_partition", "int"),
        Column("kafka_offset", "bigint"),
    ),
    partition_by=("event_date",),
    rows_are="One row is one view or purchase: one record of the topic.",
)

HOURLY = Table(
    path="sales/hourly_metrics",
    columns=(
        Column("start_ts", "bigint", "beginning of the hour, epoch seconds, inclusive"),
        Column("end_ts", "bigint", "end of the hour, epoch seconds, exclusive"),
        Column("revenue", "bigint", "sum of item_price over purchases"),
        Column("visitors", "bigint", "events with a uid, views and purchases, not distinct"),
        Column("purchases", "bigint"),
        Column("aov", "double", "average order value: revenue / purchases, null without a purchase"),
        Column("unique_visitors", "bigint", "distinct uids, exact"),
        Column("event_date", "date", "day of start_ts, UTC"),
        Column("source_rows", "bigint", "rows of the source that the day was computed from"),
    ),
    partition_by=("event_date",),
    rows_are="One row is one hour of the shop: revenue, visitors, purchases, average order value.",
)
