"""app_events from HTTP to the enriched table, against a count by hand."""

import uuid
from typing import Any

from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams_tests.harness import Stack, wait_for


def test_enriched_events_count_each_event_once_and_find_the_favourite_action(stack: Stack) -> None:
    user = 1_000_000_000  # of this test only
    base = {"user_id": user, "app_name": "web", "event_category": "nav"}
    repeated = str(uuid.uuid4())
    bodies: list[dict[str, Any]] = [
        *({**base, "event_action": "scroll"} for _ in range(3)),
        *({**base, "event_action": "click"} for _ in range(3)),  # a tie: click comes first
        *({**base, "event_action": None} for _ in range(5)),  # null does not compete
        {**base, "event_action": "view", "event_id": repeated},
        {**base, "event_action": "view", "event_id": repeated},  # a retry: counts once
        {**base, "user_id": user + 1, "event_action": None},
    ]
    for body in bodies:
        assert stack.post("/track", json=body).status_code == 200
    uri = EVENTS.uri(stack.settings)

    def arrived() -> bool:
        return sum(u >= user for u in reader.scan(uri, ["user_id"])["user_id"].to_pylist()) == len(bodies)

    wait_for("the events to be in the lake", arrived)
    window = max(MART.versions(Lake(stack.settings)))
    stack.run_job("__ASSET_JOB", asset_key(ENRICHED), partition=window)
    rows = [
        row
        for row in reader.scan(ENRICHED.uri(stack.settings), ["user_id", "u_count", "u_mp_ea"]).to_pylist()
        if row["user_id"] >= user
    ]
    assert [(row["u_count"], row["u_mp_ea"]) for row in rows if row["user_id"] == user] == [(12, "click")] * 12
    assert [(row["u_count"], row["u_mp_ea"]) for row in rows if row["user_id"] == user + 1] == [(1, None)]

    before = reader.row_counts(ENRICHED.uri(stack.settings), "window")[window]
    stack.run_job("__ASSET_JOB", asset_key(ENRICHED), partition=window)
    assert (
        reader.row_counts(ENRICHED.uri(stack.settings), "window")[window] >= before
    )  # again changes nothing but new arrivals
    assert (
        len({*reader.scan(ENRICHED.uri(stack.settings), ["event_id"])["event_id"].to_pylist()})
        == reader.scan(ENRICHED.uri(stack.settings), ["event_id"]).num_rows
    )

    shown = stack.cli("show", "app_events/enriched_events", "--limit", "3").stdout
    assert "u_mp_ea" in shown and " rows, version " in shown
