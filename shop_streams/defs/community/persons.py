"""The users of community, for `forget-user`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, STG_EVENTS, USER_FACTS, USERS_MART
from shop_streams.streaming.persons import PersonColumns, Persons

ACTING = ("message_from", "reaction_from", "user", "subscription_user")


def acting_users(row: Any, _key: bytes | None) -> list[object]:
    """The acting users in a refused row."""
    event = row.get("event") if isinstance(row, Mapping) else None
    return [event.get(name) for name in ACTING] if isinstance(event, Mapping) else []


PERSONS = Persons(
    lake=(
        PersonColumns(STG_EVENTS, ("user_id",)),
        PersonColumns(EVENTS, ("user_id",)),
        PersonColumns(USER_FACTS, ("user_id",)),
        PersonColumns(USERS_MART, ("user_id",)),
        PersonColumns(FRIEND_RECOMMENDATIONS, ("user_left", "user_right")),
    ),
    named_in=(PersonColumns(EVENTS, ("message_to",)),),
    in_letter=acting_users,
    files=(STG_EVENTS, "file"),
    more_copies=("rows of other users that name this one: who wrote to whom, admins of a channel, texts of messages",),
)
