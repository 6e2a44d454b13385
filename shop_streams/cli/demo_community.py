"""The demo's community: 40 days of files, loaded by the job for the first load."""

from __future__ import annotations

from datetime import timedelta

import pyarrow.compute as pc

from shop_streams.defs.community.schema import STG_EVENTS, USERS_MART
from shop_streams.defs.community.stg_source import INITIAL_LOAD
from shop_streams.lake import reader
from shop_streams.settings import Settings
from shop_streams.simulate import community
from shop_streams.streaming.dead_letters import DEAD_LETTERS

JOB = INITIAL_LOAD
ROWS = 10_000


def deliver(settings: Settings, seed: int) -> None:
    """Write the files of the 40 days that end yesterday."""
    community.send(settings, ROWS, seed, community.first_day())


def results(settings: Settings, seed: int) -> dict[str, bool]:
    """What must be right after the load."""
    mine = pc.match_like(pc.field("file"), f"%seed{seed}%")
    loaded = reader.scan(STG_EVENTS.uri(settings), ["file"], mine).num_rows
    refused = reader.scan(DEAD_LETTERS.uri(settings), ["file"], mine & pc.field("line").is_valid()).num_rows
    newest = (community.first_day() + timedelta(days=community.DAYS - 1)).date()
    since = (
        newest - timedelta(days=settings.community_depth_days - 1)
        if settings.community_depth_days
        else settings.first_day
    )
    day = pc.field("event_date")
    acted = reader.scan(STG_EVENTS.uri(settings), ["user_id"], (day >= since) & (day <= newest))["user_id"]
    users = reader.scan(USERS_MART.uri(settings), ["user_id"], pc.field("calculation_date") == newest)["user_id"]
    return {
        f"each of {ROWS:,} delivered rows of community is a row or a dead letter": loaded + refused == ROWS,
        f"users_mart of {newest} has each user of the dates that it reads, once": sorted(users.to_pylist())
        == sorted(acted.unique().to_pylist()),
    }
