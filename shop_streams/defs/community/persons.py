"""The users of community, for `forget-user`."""

from __future__ import annotations

from typing import Any

from shop_streams.defs.community.json_files import BOM, parsed
from shop_streams.defs.community.rows import acting_ids, typed
from shop_streams.defs.community.schema import EVENTS, FRIEND_RECOMMENDATIONS, STG_EVENTS, USER_FACTS, USERS_MART
from shop_streams.streaming.persons import PersonColumns, Persons


def acting_users(row: Any, _key: bytes | None) -> list[int]:
    """The acting users in a refused row, as the loader reads their ids."""
    return acting_ids(typed(row)[0])


def row_in_letter(raw: bytes) -> Any:
    """The value of a refused row, as the loader decodes its line."""
    return parsed(raw.removeprefix(BOM))


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
    row_in_letter=row_in_letter,
    files=(STG_EVENTS, "file"),
    more_copies=("rows of other users that name this one: who wrote to whom, admins of a channel, texts of messages",),
)
