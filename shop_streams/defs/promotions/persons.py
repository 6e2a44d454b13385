"""The clients of promotions, for `forget-user`: their notifications, feedback and subscriptions in PostgreSQL.

A notification is made once, because its row exists. So a removed row leaves a mark: campaign and keyed hash of the client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from psycopg2.extras import execute_values

from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC
from shop_streams.defs.promotions.tables import create_own_tables
from shop_streams.postgres import transaction
from shop_streams.streaming.persons import PersonRows, Persons

MARK = """
insert into promotion_forgotten
select adv_campaign_id, sha256((select secret from forgotten_key) || convert_to(client_id, 'UTF8'))
  from subscribers_feedback where client_id = %s
on conflict do nothing
"""
DELETE = """
delete from subscribers_feedback where client_id = %s
returning (to_timestamp(trigger_datetime_created) at time zone 'UTC')::date
"""
# A day's report is computed again when these numbers change (marts.py). `taken_back` only grows.
COUNT_DAY = "update promotion_days set notified = notified - %(n)s, taken_back = taken_back + %(n)s where day = %(day)s"
KNOWN = """
select k.campaign, k.client
  from (values %s) as k (campaign, client)
  join promotion_forgotten g on g.adv_campaign_id = k.campaign
   and g.client = sha256((select secret from forgotten_key) || convert_to(k.client, 'UTF8'))
"""


def remove_notifications(cursor: Any, client: str) -> None:
    """Delete the client's notifications and feedback, and mark that they were made."""
    # Nobody is notified meanwhile. It is the first lock, as in the stream's transactions: in another order, both could wait.
    cursor.execute("select made from promotion_outbox for update")
    cursor.execute(MARK, (client,))
    cursor.execute(DELETE, (client,))
    for day, count in Counter(row[0] for row in cursor.fetchall()).items():
        cursor.execute(COUNT_DAY, {"n": count, "day": day})


def remove_subscriptions(cursor: Any, client: str) -> None:
    """Delete the client's favourite restaurants from the shop's table."""
    cursor.execute("delete from subscribers_restaurants where client_id = %s", (client,))


def forgotten_notifications(dsn: str, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the notifications (campaign, client) that were removed with their client's rows."""
    if not keys:
        return set()
    with transaction(dsn) as cursor:
        return set(execute_values(cursor, KNOWN, list(keys), fetch=True))


PERSONS = Persons(
    postgres=(
        PersonRows("subscribers_feedback", "client_id", remove_notifications, prepare=create_own_tables),
        PersonRows("subscribers_restaurants", "client_id", remove_subscriptions, of_the_shop=True),
    ),
    topics=(NOTIFICATIONS_TOPIC,),
)
