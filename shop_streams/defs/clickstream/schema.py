"""Topic, record format and tables of clickstream."""

from __future__ import annotations

from shop_streams.avro import avro
from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.topics import APPEND_TIME, Topic

# Existing readers of a Divolte topic use exactly this schema. Everything else is in Kafka headers.
CLICK_SCHEMA = {
    "namespace": "io.divolte.examples.record",
    "type": "record",
    "name": "lab2_event",
    "fields": [
        {"name": "timestamp", "type": "long"},
        *[
            {"name": name, "type": ["null", "string"], "default": None}
            for name in ("eventType", "location", "sessionId", "price", "amount")
        ],
    ],
}

CLICKS_TOPIC = Topic(
    "online_store",
    "One record is one click: Avro without a header or a schema id, as Divolte writes it; key = party id.",
    APPEND_TIME,
    encoding=avro(CLICK_SCHEMA),
)

# PostgreSQL has time, shop and item in a key, which has at most 2,704 bytes; a character has up to 4.
MAX_SHOP = 260  # characters: the longest name of a host, and a port
MAX_ITEM_ID = 200  # characters

PAGE_VIEW = "pageView"
BUY_CLICK = "buy_button_click"

CLICKS = Table(
    path="clickstream/clicks",
    columns=(
        Column("clicked_at", "timestamp", "event time, UTC: the record's timestamp"),
        Column("event_type", "string", "pageView, buy_button_click, or the page's own; null without one"),
        Column("location", "string", "address of the page; null for events of other clients than browsers"),
        Column("shop", "string", "host of the location, lower case, with a port that is not the default one"),
        Column("item_id", "string", "the item whose page it is; null on any other page"),
        Column("session_id", "string", "the browser's session; null if unknown"),
        Column("party_id", "string", "the browser: the record's key; null if the key is no text"),
        Column("price", "string", "price as the page shows it"),
        Column("amount", "string", "amount as the page sends it"),
        Column("order_price", "decimal(27,9)", "the price as a number; null unless an item was ordered on its page"),
        Column("order_amount", "int", "the amount as a number; null unless an item was ordered on its page"),
        Column("event_id", "string", "the tag's event id; null in records of other producers"),
        Column("page_view_id", "string", "the tag's page view id"),
        Column("received_at", "timestamp", "when the collector received it, UTC"),
        Column("client_timestamp", "timestamp", "the browser's clock, UTC"),
        Column("is_new_party", "boolean", "whether the browser got its party id with this page view"),
        Column("is_first_in_session", "boolean", "whether this event began the session"),
        Column("corrupt", "boolean", "whether the checksum was missing or wrong: the click counts nowhere"),
        Column("parameters", "string", "the event's parameters, JSON"),
        Column("referer", "string", "the page before"),
        Column("viewport", "string", "size of the window, such as 1280x800"),
        Column("screen", "string", "size of the screen"),
        Column("pixel_ratio", "string", "device pixels per CSS pixel"),
        Column("identity", "string", "party, session and event id; a later click with the same is a repeat"),
        Column("clicked_on", "date", "day of clicked_at, UTC"),
        *ORIGIN_COLUMNS,
    ),
    partition_by=("clicked_on",),
    rows_are="One row is one click as it was received, also a corrupt one or a repeat; the marts count each sound click once.",
    identity="identity",
)

ITEM_STATS = Table(
    path="clickstream/item_stats",
    columns=(
        Column("half_hour", "string", "partition key: beginning of the half hour, UTC"),
        Column("shop", "string", "host of the shop, with a port that is not the default one"),
        Column("item_id", "string", "the item"),
        Column("views", "bigint", "page views of the item's page"),
        Column("deep", "double", "mean depth of these views: page views of the visit up to each; null without views"),
        Column("orders", "bigint", "ordered pieces: the sum of the amounts"),
        Column("order_sum", "double", "the sum of price x amount"),
        Column(
            "source_rows",
            "bigint",
            "the source version that the half hour was computed from: its number of clicks, and a checksum of earlier clicks "
            "that its computation reads",
        ),
    ),
    partition_by=("half_hour",),
    rows_are="One row is one item of one shop in one half hour: its views, their depth, and its orders.",
)
