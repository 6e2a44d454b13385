"""What simulators send comes out as DuckDB and plain Python count it: each hour, each user and each campaign."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS
from shop_streams.defs.promotions.checks import both_sinks_agree
from shop_streams.defs.sales.schema import HOURLY
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.simulate import app_events, promotions, sales
from shop_streams_tests.defs.sales.events import mart, oracle, without
from shop_streams_tests.harness import Stack, exact, wait_for


def test_every_hour_of_the_shop_in_the_topic_and_in_the_mart(stack: Stack, tmp_path: Path) -> None:
    day = datetime(2016, 2, 29, tzinfo=UTC)  # nobody else of the suite writes to it
    stack.cli("simulate", "sales", "--count", "1000", "--seed", "7", "--start", f"{day:%Y-%m-%dT%H:%M:%S}")
    over_kafka = list(sales.events(3000, 8, day))
    stack.produce("shop_events", [json.dumps(event).encode() for event in over_kafka])
    expected = oracle([*sales.events(1000, 7, day), *over_kafka], tmp_path)
    assert len(expected) == 24 and all(hour["purchases"] for hour in expected)

    def sent() -> list[dict[str, Any]]:
        last = {record.key: json.loads(record.value) for record in read_topic(stack.settings.kafka, "hourly_metrics")}
        hours = [hour for hour in last.values() if 0 <= hour["start_ts"] - day.timestamp() < 86_400]
        return sorted(hours, key=lambda hour: hour["start_ts"])

    wait_for("the topic to follow", lambda: sent() == without(expected, "unique_visitors"))
    wait_for("every record to be in the lake", lambda: exact(SALES, stack))
    stack.run_job("__ASSET_JOB", asset_key(HOURLY), partition=f"{day:%Y-%m-%d}")
    assert mart(stack, f"{day:%Y-%m-%d}") == expected


def window_of(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}-{moment.hour // 3 * 3:02}:00"


def test_every_user_of_a_window(stack: Stack) -> None:
    sent = {event["event_id"]: event for event in app_events.events(1500, 11, datetime.now(UTC))}
    stack.cli("simulate", "app_events", "--count", str(len(sent)), "--seed", "11")
    wait_for("every event to be in the lake", lambda: exact(APP_EVENTS, stack))

    rows = reader.scan(EVENTS.uri(stack.settings), ["event_id", "event_time", "user_id", "event_action"]).to_pylist()
    first = {row["event_id"]: row for row in sorted(rows, key=lambda row: row["event_time"], reverse=True)}
    assert sent.keys() <= first.keys()
    users: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row in first.values():
        users[window_of(row["event_time"]), row["user_id"]].append(row["event_action"])
    expected = {}
    for user, actions in users.items():
        times = Counter(action for action in actions if action is not None)
        favourite = min(times, key=lambda action: (-times[action], action)) if times else None
        expected[user] = (len(actions), favourite)

    windows = {window_of(first[event_id]["event_time"]) for event_id in sent}
    for window in windows:
        stack.run_job("__ASSET_JOB", asset_key(ENRICHED), partition=window)
    columns = [column.name for column in ENRICHED.columns]
    found = [row for row in reader.scan(ENRICHED.uri(stack.settings), columns).to_pylist() if row["window"] in windows]
    assert Counter((row["window"], row["user_id"]) for row in found) == {
        user: count for user, (count, _) in expected.items() if user[0] in windows
    }
    for row in found:
        assert (row["u_count"], row["u_mp_ea"]) == expected[row["window"], row["user_id"]]
    ours = [row for row in found if row["event_id"] in sent]
    assert len(ours) == len(sent)
    assert all({name: row[name] for name in sent[row["event_id"]]} == sent[row["event_id"]] for row in ours)


def test_simulated_campaigns_reach_exactly_their_subscribers(stack: Stack) -> None:
    now = datetime.now(UTC)
    stack.cli("simulate", "promotions", "--count", "80", "--seed", "5", "--start", f"{now:%Y-%m-%dT%H:%M:%S}")
    live = {
        one["adv_campaign_id"]: one["restaurant_id"]
        for one in promotions.campaigns(80, 5, now)
        if one["adv_campaign_datetime_start"] <= now.timestamp() < one["adv_campaign_datetime_end"]
    }
    subscribed = set(promotions.subscriptions(5))
    expected = {
        (one, client) for one, place in live.items() for client, restaurant in subscribed if restaurant == place
    }
    assert len(live) > 20 and len(expected) > 500
    waiting = {one["adv_campaign_id"] for one in promotions.campaigns(80, 5, now)} - live.keys()

    def found() -> list[tuple[str, str]]:
        values = [json.loads(record.value) for record in read_topic(stack.settings.kafka, "promotion_notifications")]
        places = [(value["adv_campaign_id"], value["client_id"]) for value in values]
        return sorted(place for place in places if place[0] in live or place[0] in waiting)

    wait_for("every subscriber to be notified", lambda: len(found()) >= len(expected))
    assert found() == sorted(expected)
    result: Any = both_sinks_agree(settings=stack.settings)
    assert result.passed and result.metadata["in_topic"].value >= len(expected)
