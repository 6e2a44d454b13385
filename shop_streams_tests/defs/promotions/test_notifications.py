"""Which campaigns count, and whom a sweep finds."""

import time
import uuid

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop_streams.defs.promotions import notifications
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.topics import Topic
from shop_streams_tests.defs.promotions.campaigns import clients_of, message, rows, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken

pytestmark = pytest.mark.with_stack


def test_a_sweep_looks_at_live_campaigns_only_and_at_each_in_its_turn(alone: tuple[Settings, Topic]) -> None:
    settings, _ = alone
    live, over = message(), message(adv_campaign_datetime_end=int(time.time()) - 1)
    notifications.write_campaigns(settings.postgres, [as_taken(live), as_taken(over)])
    for campaign in (live, over):
        subscribe(settings.postgres, campaign["restaurant_id"], "a", "x" * 2000)  # too long for any index
    assert notifications.sweep(settings.postgres, 30) is None
    assert notifications.sweep(settings.postgres, 0) == 1
    assert clients_of(rows(settings.postgres, live["adv_campaign_id"])) == ["a"]
    assert rows(settings.postgres, over["adv_campaign_id"]) == []


def test_a_campaign_that_was_looked_at_before_the_clock_was_set_back_is_looked_at_again(
    alone: tuple[Settings, Topic],
) -> None:
    settings, _ = alone
    campaign = message()
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
    with transaction(settings.postgres) as cursor:
        cursor.execute("update promotion_campaigns set swept_at = clock_timestamp() + interval '10 hours'")
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    assert notifications.sweep(settings.postgres, 30) == 1
    assert notifications.sweep(settings.postgres, 30) is None


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=8).flatmap(
        lambda messages: st.tuples(st.just(messages), st.permutations(range(len(messages))), st.integers(1, 8))
    )
)
def test_in_whatever_order_and_batches_messages_come_the_newest_counts(
    alone: tuple[Settings, Topic], case: tuple[list[tuple[int, int]], list[int], int]
) -> None:
    messages, order, size = case
    settings, _ = alone
    ids = [str(uuid.uuid4()) for _ in range(3)]
    now = int(time.time())
    all_of_them = [
        as_taken(
            message(
                adv_campaign_id=ids[campaign], adv_campaign_content=f"message {arrival}", datetime_created=now + created
            ),
            arrival,
        )
        for arrival, (campaign, created) in enumerate(messages)
    ]
    shuffled = [all_of_them[place] for place in order]
    for start in range(0, len(shuffled), size):
        notifications.write_campaigns(settings.postgres, shuffled[start : start + size])
    with transaction(settings.postgres) as cursor:
        cursor.execute(
            "select adv_campaign_id, adv_campaign_content from promotion_campaigns where adv_campaign_id = any(%s)",
            (ids,),
        )
        found = dict(cursor.fetchall())
    expected = {}
    for number, one in enumerate(ids):
        mine = [(created, arrival) for arrival, (campaign, created) in enumerate(messages) if campaign == number]
        if mine:
            expected[one] = f"message {max(mine)[1]}"
    assert found == expected
