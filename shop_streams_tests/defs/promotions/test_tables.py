"""The shop's own tables are used as they are."""

from shop_streams.defs.promotions import notifications, tables
from shop_streams.postgres import transaction
from shop_streams_tests.defs.promotions.campaigns import message, rows, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken, own_database
from shop_streams_tests.harness import Stack


def test_a_table_of_feedback_that_the_shop_made_is_taken_as_it_is(stack: Stack) -> None:
    columns = ", ".join(
        f"{name} {'int8' if 'datetime' in name else 'varchar'} not null" for name in notifications.NOTIFICATION_COLUMNS
    )
    campaign = message()
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        with transaction(settings.postgres) as cursor:
            cursor.execute(f"create table subscribers_feedback (id serial primary key, {columns}, feedback varchar)")
            known = campaign | {"client_id": "a", "trigger_datetime_created": 1}
            cursor.execute(
                f"insert into subscribers_feedback ({', '.join(known)}, feedback) values ({', '.join(['%s'] * len(known))}, 'old')",
                list(known.values()),
            )
        for _ in range(2):
            tables.create_tables(settings.postgres)
        subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
        assert notifications.write_campaigns(settings.postgres, [as_taken(campaign)]) == 1
        assert [row["feedback"] for row in rows(settings.postgres, campaign["adv_campaign_id"])] == ["old", None]
