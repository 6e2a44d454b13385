"""Tables of community. Raw files become STG, STG becomes DDS (`EVENTS`), and DDS becomes the history and three marts."""

from __future__ import annotations

from shop_streams.lake.table import Column, Table

EVENT_TYPES = ("message", "reaction", "registration", "subscription")

EVENT_STRUCT = (
    "struct<admins: array<bigint>, channel_id: bigint, datetime: string, media: struct<media_type: string, src: string>, "
    "message: string, message_channel_to: bigint, message_from: bigint, message_group: bigint, message_id: bigint, "
    "message_to: bigint, message_ts: string, reaction_from: string, reaction_type: string, subscription_channel: bigint, "
    "subscription_user: string, tags: array<string>, user: string>"
)
SOURCE_VERSION = Column("source_rows", "bigint", "the version of everything that the partition was computed from")
DEPTH = Column("depth_days", "int", "the number of dates that were read, this one included; 0 for all")

STG_EVENTS = Table(
    path="community/stg_events",
    columns=(
        Column("event", EVENT_STRUCT, "the event as it was delivered", personal=True),
        Column("event_type", "string", "message, reaction, subscription or registration"),
        Column("lat", "double", "latitude in degrees as it was delivered; null for NaN", personal=True),
        Column("lon", "double", "longitude in degrees as it was delivered; null for NaN", personal=True),
        Column("event_id", "string", "hash of the row's values: the same row in another file has the same one"),
        Column("user_id", "bigint", "the acting user"),
        Column("event_time", "timestamp", "datetime, or else message_ts, UTC"),
        Column("event_date", "date", "day of event_time, UTC"),
        Column("file", "string", "the file, below the landing folder"),
        Column("line", "bigint", "the row's number in the file, from 1"),
        Column("folder_date", "date", "the date in the folder's name: when the file was delivered"),
        SOURCE_VERSION,
    ),
    partition_by=("folder_date",),
    rows_are="One row is one valid row of a delivered file. A row that is delivered twice is here twice.",
)

EVENTS = Table(
    path="community/events",
    columns=(
        Column("event_id", "string", "hash of the delivered row's values; each has one row"),
        Column("event_type", "string", "message, reaction, subscription or registration"),
        Column("user_id", "bigint", "the acting user"),
        Column("event_time", "timestamp", "when it happened, UTC"),
        Column("zone_id", "bigint", "the city nearest to the coordinates; null if the event is unlocated"),
        Column("lat", "double", "latitude in degrees, its own or the one of `position_source`", personal=True),
        Column("lon", "double", "longitude in degrees, its own or the one of `position_source`", personal=True),
        Column(
            "position_source",
            "string",
            "where the coordinates come from: own, earlier_message (the user's last located message up to the event), "
            "later_message (the first one after it, on the same date); null if the event is unlocated",
        ),
        Column("position_date", "date", "the date of that message; null for own coordinates"),
        Column("message_id", "bigint", "the message, or the message that the reaction is to"),
        Column("message_to", "bigint", "the user to whom the message was written"),
        Column("channel", "bigint", "the channel that the message was written to, or that the user subscribed to"),
        Column("event_date", "date", "day of event_time, UTC"),
        SOURCE_VERSION,
    ),
    partition_by=("event_date",),
    rows_are="One row is one event of a user, each once, with the zone in which it happened.",
)

USER_FACTS = Table(
    path="community/user_facts",
    columns=(
        Column("kind", "string", "position, registration, message, subscription or written_to"),
        Column("user_id", "bigint", "the user"),
        Column("other", "bigint", "the channel of a subscription, the addressee of written_to; else null"),
        Column(
            "event_time",
            "timestamp",
            "the last one of position (the user's last located message), else the first one, UTC",
        ),
        Column("message_id", "bigint", "position: that message"),
        Column("lat", "double", "position: latitude in degrees", personal=True),
        Column("lon", "double", "position: longitude in degrees", personal=True),
        Column("zone_id", "bigint", "position: the zone"),
        Column("month", "date", "first day of the month"),
        SOURCE_VERSION,
    ),
    partition_by=("month",),
    rows_are="One row is what a month says of a user, once for each kind and other: it spares the marts the reading of all dates.",
)

USERS_MART = Table(
    path="community/users_mart",
    columns=(
        Column("user_id", "bigint", "the user"),
        Column("act_city", "string", "city of the user's last message; null without one, or if it is unlocated"),
        Column("travel_count", "int", "number of cities in travel_array"),
        Column("travel_array", "array<string>", "cities in the order of visits, without immediate repeats"),
        Column(
            "home_city", "string", "the last city in which an unbroken stay lasted more than 27 days; null if none did"
        ),
        Column(
            "local_time", "timestamp", "the user's last event, as clocks in act_city show it; null without act_city"
        ),
        Column("calculation_date", "date", "the last date that was read"),
        DEPTH,
        SOURCE_VERSION,
    ),
    partition_by=("calculation_date",),
    rows_are="One row is one user with an event in the dates that were read.",
)

ZONES_MART = Table(
    path="community/zones_mart",
    columns=(
        Column("month", "date", "first day of the month"),
        Column("week", "date", "Monday of the week"),
        Column("zone_id", "bigint", "the city"),
        *[
            Column(f"{period}_{what}", "bigint", f"{words} of the {period} up to the calculation date")
            for period in ("week", "month")
            for what, words in (
                ("message", "messages"),
                ("reaction", "reactions"),
                ("subscription", "subscriptions"),
                ("user", "new users"),
            )
        ],
        Column("calculation_date", "date", "the last date that was read"),
        DEPTH,
        SOURCE_VERSION,
    ),
    partition_by=("calculation_date",),
    rows_are="One row is one zone in one week of one month; a week that spans two months has a row in each, with the whole week.",
)

FRIEND_RECOMMENDATIONS = Table(
    path="community/friend_recommendations",
    columns=(
        Column("user_left", "bigint", "the user with the smaller id"),
        Column("user_right", "bigint", "the user with the larger id"),
        Column("processed_dttm", "timestamp", "when the row was computed, UTC"),
        Column("zone_id", "bigint", "the zone of user_left"),
        Column("local_time", "timestamp", "processed_dttm, as clocks in that zone show it"),
        Column("calculation_date", "date", "the last date that was read"),
        DEPTH,
        SOURCE_VERSION,
    ),
    partition_by=("calculation_date",),
    rows_are="One row is two users who may want to know each other: a common channel, at most 1 km apart, and they never wrote "
    "to each other.",
)
