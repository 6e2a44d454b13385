"""The shop's own tables are used as they are."""

import uuid

import pytest

from shop_streams.defs.promotions import notifications, tables
from shop_streams.defs.promotions.marts import MART
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing
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


def test_a_user_who_does_not_own_the_shops_table_starts_the_stream(stack: Stack) -> None:
    """An administrator has made the table ready once. PostgreSQL asks for its owner even where an index exists."""
    role = f"app_{uuid.uuid4().hex}"
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        tables.create_tables(settings.postgres)
        with transaction(settings.postgres) as cursor:
            cursor.execute(f"create role {role}")
            cursor.execute(f"grant usage, create on schema public to {role}")
            cursor.execute(
                f"grant select, insert, update, delete on subscribers_feedback, subscribers_restaurants to {role}"
            )
            cursor.execute(
                "select tablename from pg_tables where schemaname = 'public' and tablename not like 'subscribers_%'"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"alter table {name} owner to {role}")
        dsn = f"{settings.postgres}{'&' if '?' in settings.postgres else '?'}options=-crole%3D{role}"
        tables.create_tables(dsn)
        with transaction(dsn) as cursor:
            cursor.execute(
                "select current_user, count(*) from subscribers_feedback group by 1 union all select current_user, 0"
            )
            assert cursor.fetchone() == (role, 0)
        with transaction(settings.postgres) as cursor:
            cursor.execute(f"drop owned by {role}")
            cursor.execute(f"drop role {role}")


def test_days_that_an_earlier_version_counted_keep_their_version(stack: Stack) -> None:
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        with transaction(settings.postgres) as cursor:
            cursor.execute("create table promotion_days (day date primary key, notified int8 not null)")
            cursor.execute("insert into promotion_days values ('2026-01-05', 5)")
        lake = Lake(settings)
        with pytest.raises(SourceMissing, match="The stream creates it at its start"):
            MART.versions(lake)
        for _ in range(2):
            tables.create_tables(settings.postgres)
        assert MART.versions(lake) == {"2026-01-05": 5}
