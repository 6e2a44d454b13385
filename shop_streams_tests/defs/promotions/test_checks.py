"""PostgreSQL and Kafka agree."""

import json
from datetime import UTC, datetime
from typing import Any

from shop_streams.defs.promotions.checks import both_sinks_agree, disagreements
from shop_streams.kafka import read_topic
from shop_streams_tests.harness import Stack, wait_for


def test_simulated_campaigns_reach_exactly_their_subscribers(stack: Stack) -> None:
    from shop_streams.simulate import promotions

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


def test_disagreements_are_told() -> None:
    one = {"adv_campaign_id": "c", "client_id": "a", "adv_campaign_content": "soup"}
    known = {("c", "a"): one}
    assert disagreements(known, known, [one]) == []
    assert disagreements(known, known, []) == ["c:a is not in the topic"]
    assert disagreements(known, known, [one, one]) == ["c:a is in the topic 2 times"]
    assert disagreements({}, known, [one | {"adv_campaign_content": "tea"}]) == ["c:a differs from PostgreSQL"]
    assert disagreements({}, {}, [one]) == ["c:a differs from PostgreSQL"]
