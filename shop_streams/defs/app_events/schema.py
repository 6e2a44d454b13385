"""Tables and topics of app_events."""

from __future__ import annotations

from shop_streams.lake.table import ORIGIN_COLUMNS, Column, Table
from shop_streams.topics import APPEND_TIME, Topic

_EVENT = (
    Column("event_time", "timestamp", "when the collector received it, UTC"),
    Column("user_id", "int", "the user who did it"),
    Column("app_name", "string", "the application that sent it"),
    Column("event_action", "string", "what the user did; null when the client did not send it"),
    Column("event_category", "string", "the kind of event, as the client names it"),
    Column("event_value", "int", "a number that the client sent; null without one"),
)

EVENTS = Table(
    path="app_events/events",
    columns=(
        Column(
            "event_id",
            "string",
            "the client's UUID, or one that the collector made; the origin of a record without one",
        ),
        *_EVENT,
        Column("event_date", "date", "day of event_time, UTC"),
        *ORIGIN_COLUMNS,
    ),
    partition_by=("event_date",),
    rows_are="One row is one product event as the collector accepted it. A client's retry may repeat an event_id; the mart "
    "counts it once.",
    identity="event_id",
)

ENRICHED = Table(
    path="app_events/enriched_events",
    columns=(
        Column("event_id", "string", "as in the source; each event_id has one row"),
        *_EVENT,
        Column("u_count", "bigint", "this user's events in the window"),
        Column("u_mp_ea", "string", "this user's most frequent action in the window; ties: alphabetically first"),
        Column("window", "string", "the 3-hour window's partition key, its beginning in UTC"),
        Column(
            "source_rows",
            "bigint",
            "the source version that the window was computed from: its number of source rows, repeats included, and a checksum "
            "of the other inputs",
        ),
    ),
    partition_by=("window",),
    rows_are="One row is one product event of a 3-hour window, with its user's activity in that window.",
)


EVENTS_TOPIC = Topic(
    "events", "One record is one tracked product event, as the collector accepted it; key = user_id.", APPEND_TIME
)
