"""`forget-user` for clients of promotions: their rows go, and no campaign notifies them twice."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shop_streams.defs.platform.copies import copies_of
from shop_streams.defs.platform.forget import Request
from shop_streams.defs.promotions import notifications
from shop_streams.defs.promotions.domain import DOMAIN as PROMOTIONS
from shop_streams.defs.promotions.persons import forgotten_notifications
from shop_streams.defs.promotions.tables import create_subscribers, create_tables
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams_tests.defs.platform.forgetting import removed, run
from shop_streams_tests.defs.promotions.campaigns import clients_of, message, rows, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken
from shop_streams_tests.harness import wait_for
from shop_streams_tests.local.test_database import execute

pytestmark = pytest.mark.servers

CLIENT, OTHER = "023e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"


def promote(settings: Settings) -> None:
    """Two clients were notified of one campaign."""
    create_subscribers(settings.postgres)
    create_tables(settings.postgres)
    for client in (CLIENT, OTHER):
        execute(
            settings.postgres,
            f"insert into subscribers_restaurants (client_id, restaurant_id) values ('{client}', 'r')",
        )
        execute(
            settings.postgres,
            f"insert into subscribers_feedback values ('r', 'c', '', '', '', 0, 1, '{client}', 0, 86400, 'good')",
        )
    execute(settings.postgres, "insert into promotion_days values ('1970-01-02', 2, 0)")


def test_a_clients_notifications_go_with_their_numbers_and_the_shops_table_only_on_demand(home: Settings) -> None:
    promote(home)
    dsn = home.postgres
    request = Request(home, [PROMOTIONS], CLIENT)
    assert any("1 rows of the shop's own table" in one.what for one in copies_of(request, []))
    assert removed(run(home, CLIENT)) == {"PostgreSQL subscribers_feedback": 1}
    assert execute(dsn, "select client_id from subscribers_feedback") == [(OTHER,)]
    assert execute(dsn, "select notified, taken_back from promotion_days") == [(1, 1)]
    assert execute(dsn, "select count(*) from subscribers_restaurants") == [(2,)]
    assert CLIENT not in str(execute(dsn, "select * from promotion_forgotten"))
    assert removed(run(home, CLIENT)) == {}
    assert execute(dsn, "select notified, taken_back from promotion_days") == [(1, 1)]

    assert not any("shop's own" in one.what for one in copies_of(replace(request, shop_tables=True), []))
    assert removed(run(home, CLIENT, shop_tables=True)) == {"PostgreSQL subscribers_restaurants": 1}
    assert execute(dsn, "select client_id from subscribers_restaurants") == [(OTHER,)]


def test_a_forgotten_client_is_not_notified_again_of_the_same_campaign_and_the_topics_copy_is_no_disagreement(
    home: Settings,
) -> None:
    create_subscribers(home.postgres)
    create_tables(home.postgres)
    first, second = message(), message()
    subscribe(home.postgres, first["restaurant_id"], CLIENT, OTHER)
    subscribe(home.postgres, second["restaurant_id"], CLIENT)
    assert notifications.write_campaigns(home.postgres, [as_taken(first)]) == 2
    run(home, CLIENT)
    assert notifications.sweep(home.postgres, 0) == 0, "the client is in the shop's table still"
    assert clients_of(rows(home.postgres, first["adv_campaign_id"])) == [OTHER]
    assert notifications.write_campaigns(home.postgres, [as_taken(second)]) == 1, (
        "a campaign that the client has not had"
    )
    keys = {(one["adv_campaign_id"], client) for one in (first, second) for client in (CLIENT, OTHER)}
    assert forgotten_notifications(home.postgres, keys) == {(first["adv_campaign_id"], CLIENT)}
    assert forgotten_notifications(home.postgres, set()) == set()


def test_the_stream_that_notifies_meanwhile_and_the_removal_do_not_lock_each_other_out(home: Settings) -> None:
    promote(home)
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool, transaction(home.postgres) as stream:
        stream.execute("select made + 1 from promotion_outbox for update")  # as the stream begins
        removal = pool.submit(run, home, CLIENT)
        wait_for("the removal to wait", lambda: execute(home.postgres, waiting) == [(1,)], seconds=20)
        stream.execute(
            f"insert into subscribers_feedback values ('r', 'd', '', '', '', 0, 1, '{OTHER}', 0, 86400, 'good')"
        )
        stream.connection.commit()
        assert removed(removal.result(20)) == {"PostgreSQL subscribers_feedback": 1}
    found = execute(home.postgres, "select adv_campaign_id, client_id from subscribers_feedback order by 1")
    assert found == [("c", OTHER), ("d", OTHER)]
