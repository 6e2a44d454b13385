"""Promotions in PostgreSQL: who is notified of what is decided here, in one transaction, by a unique constraint.

`subscribers_feedback` holds each notification once. Notifications that one transaction made carry the same `outbox`
number; numbers are given in the order of the transactions, so "everything up to number n is in Kafka" is one number.
Light to import: Spark's worker does it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from shop_streams.errors import ShopStreamsError

CAMPAIGN_COLUMNS = (
    "restaurant_id",
    "adv_campaign_id",
    "adv_campaign_content",
    "adv_campaign_owner",
    "adv_campaign_owner_contact",
    "adv_campaign_datetime_start",
    "adv_campaign_datetime_end",
)
NOTIFICATION_COLUMNS = (*CAMPAIGN_COLUMNS, "client_id", "datetime_created", "trigger_datetime_created")
PLACE_COLUMNS = ("message_at", "kafka_partition", "kafka_offset")
AGE = slice(len(CAMPAIGN_COLUMNS), None)  # of a campaign's tuple: what decides which message is the newer
CHANNEL = "promotion_outbox"
CLIENT_BYTES = 1000  # a longer client_id fits into no index
SWEEP_CAMPAIGNS = 20  # in one transaction: a campaign that has just arrived waits for it

SUBSCRIBERS_DDL = """
create table if not exists subscribers_restaurants (
    id            serial primary key,
    client_id     varchar not null,
    restaurant_id varchar not null
);
create index if not exists subscribers_restaurants_restaurant_id on subscribers_restaurants (restaurant_id);
"""

DDL = """
create table if not exists promotion_campaigns (
    restaurant_id               varchar not null,
    adv_campaign_id             varchar primary key,
    adv_campaign_content        varchar not null,
    adv_campaign_owner          varchar not null,
    adv_campaign_owner_contact  varchar not null,
    adv_campaign_datetime_start int8 not null,
    adv_campaign_datetime_end   int8 not null,
    datetime_created            int8 not null,
    message_at                  timestamptz not null,  -- the broker's time of the newest message
    kafka_partition             int4 not null,
    kafka_offset                int8 not null,
    swept_at                    timestamptz            -- when its subscribers were last looked at
);
create index if not exists promotion_campaigns_end on promotion_campaigns (adv_campaign_datetime_end);

create table if not exists subscribers_feedback (
    restaurant_id               varchar not null,
    adv_campaign_id             varchar not null,
    adv_campaign_content        varchar not null,
    adv_campaign_owner          varchar not null,
    adv_campaign_owner_contact  varchar not null,
    adv_campaign_datetime_start int8 not null,
    adv_campaign_datetime_end   int8 not null,
    client_id                   varchar not null,
    datetime_created            int8 not null,
    trigger_datetime_created    int8 not null,
    feedback                    varchar null
);
do $$ begin  -- the shop may have made the table; ours are only looked for, since adding them waits for everybody else
    if not exists (select from pg_attribute where attrelid = 'subscribers_feedback'::regclass and attname = 'outbox') then
        alter table subscribers_feedback
            add column message_at timestamptz,             -- the broker's time of the campaign's message
            add column made_at    timestamptz,
            add column outbox     int8 not null default 0; -- in Kafka once promotion_topic.published has reached it
    end if;
end $$;
create unique index if not exists subscribers_feedback_once on subscribers_feedback (adv_campaign_id, client_id);
create index if not exists subscribers_feedback_outbox on subscribers_feedback (outbox);
create index if not exists subscribers_feedback_made on subscribers_feedback (trigger_datetime_created);
create index if not exists subscribers_feedback_given on subscribers_feedback (trigger_datetime_created)
    where feedback is not null;

create table if not exists promotion_days (
    day      date primary key,  -- UTC
    notified int8 not null
);

create table if not exists promotion_outbox (
    id   int primary key check (id = 1),
    made int8 not null,
    name uuid not null default gen_random_uuid()  -- of this database, in the topic that says what was published
);
insert into promotion_outbox (id, made) values (1, 0) on conflict do nothing;

create table if not exists promotion_topic (id int primary key check (id = 1), published int8 not null);
insert into promotion_topic values (1, 0) on conflict do nothing;
"""

UPSERT = f"""
insert into promotion_campaigns as known ({", ".join(CAMPAIGN_COLUMNS)}, datetime_created, {", ".join(PLACE_COLUMNS)})
values %s
on conflict (adv_campaign_id) do update
   set {", ".join(f"{name} = excluded.{name}" for name in (*CAMPAIGN_COLUMNS, "datetime_created", *PLACE_COLUMNS))},
       swept_at = null
 where (excluded.datetime_created, excluded.message_at, excluded.kafka_partition, excluded.kafka_offset)
     > (known.datetime_created, known.message_at, known.kafka_partition, known.kafka_offset)
"""

NOTIFY_SUBSCRIBERS = f"""
insert into subscribers_feedback ({", ".join(NOTIFICATION_COLUMNS)}, message_at, made_at, outbox)
select {", ".join(f"c.{name}" for name in CAMPAIGN_COLUMNS)}, s.client_id, c.datetime_created, %(second)s,
       c.message_at, clock_timestamp(), %(outbox)s
  from promotion_campaigns c join subscribers_restaurants s on s.restaurant_id = c.restaurant_id
 where c.adv_campaign_id = any(%(campaigns)s)
   and c.adv_campaign_datetime_start <= %(second)s and c.adv_campaign_datetime_end > %(second)s
   and octet_length(s.client_id) <= {CLIENT_BYTES}
   and not exists (select from subscribers_feedback f
                    where f.adv_campaign_id = c.adv_campaign_id and f.client_id = s.client_id)
on conflict (adv_campaign_id, client_id) do nothing
"""

COUNT_DAY = """
insert into promotion_days as known values (%(day)s, %(made)s)
on conflict (day) do update set notified = known.notified + excluded.notified
"""

TAKE_BACK_EXPIRED = """
with expired as (
    delete from subscribers_feedback
     where outbox = %s and adv_campaign_datetime_end <= extract(epoch from clock_timestamp())
    returning (to_timestamp(trigger_datetime_created) at time zone 'UTC')::date as day)
update promotion_days d set notified = d.notified - e.number
  from (select day, count(*) as number from expired group by day) e
 where d.day = e.day
"""

DUE = """
select adv_campaign_id from promotion_campaigns
 where adv_campaign_datetime_start <= %(second)s and adv_campaign_datetime_end > %(second)s
   and (swept_at is null or swept_at < clock_timestamp() - make_interval(secs => %(interval)s))
 order by swept_at nulls first
 limit %(limit)s
"""


class SubscribersMissing(ShopStreamsError):
    """The shop's table of subscribers does not exist."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL has no table subscribers_restaurants. Create it with `shop-streams prepare --subscribers`, or:\n"
            f"{SUBSCRIBERS_DDL}"
        )


@contextmanager
def transaction(dsn: str) -> Iterator[Any]:
    """A cursor in a transaction of its own, on a connection of its own."""
    connection = psycopg2.connect(dsn, connect_timeout=3, tcp_user_timeout=10_000)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def create_tables(dsn: str) -> None:
    """Create our own tables where they are missing; the shop's is only looked at.

    Raises:
        SubscribersMissing: with the DDL to run.
    """
    with transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('promotions_ddl'))")
        cursor.execute(DDL)
    with transaction(dsn) as cursor:
        cursor.execute("select to_regclass('subscribers_restaurants')")
        if cursor.fetchone()[0] is None:
            raise SubscribersMissing


def create_subscribers(dsn: str) -> None:
    """Create the shop's table of subscribers where it is missing: for the embedded database, which no shop uses yet."""
    with transaction(dsn) as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('promotions_ddl'))")
        cursor.execute(SUBSCRIBERS_DDL)


@dataclass(frozen=True)
class Turn:
    """The right to make notifications, held until the transaction ends: numbers are then in the order of commits.

    `second` is the database's clock, epoch seconds, and `outbox` the number for what is made now.
    """

    cursor: Any
    second: int
    outbox: int

    @classmethod
    def take(cls, cursor: Any) -> Turn:
        """Wait for the turn."""
        cursor.execute("set local enable_seqscan = off")  # whatever the statistics: only these restaurants' subscribers
        cursor.execute("select made + 1 from promotion_outbox for update")
        (outbox,) = cursor.fetchone()
        cursor.execute("select floor(extract(epoch from clock_timestamp()))::int8")
        (second,) = cursor.fetchone()
        return cls(cursor, second, outbox)

    def notify(self, campaign_ids: list[str]) -> int:
        """Make a notification for each subscriber of these campaigns who has none, where the campaign is live now."""
        values = {"campaigns": campaign_ids, "second": self.second, "outbox": self.outbox}
        try:
            self.cursor.execute(NOTIFY_SUBSCRIBERS, values)
        except psycopg2.errors.UndefinedTable as error:
            if "subscribers_restaurants" not in str(error):
                raise
            raise SubscribersMissing from error
        made = int(self.cursor.rowcount)
        if made:
            self.cursor.execute("update promotion_outbox set made = %s", (self.outbox,))
            self.cursor.execute(COUNT_DAY, {"day": datetime.fromtimestamp(self.second, UTC).date(), "made": made})
            self.cursor.execute(f"notify {CHANNEL}")
        self.cursor.execute(
            "update promotion_campaigns set swept_at = clock_timestamp()"
            " where adv_campaign_id = any(%(campaigns)s) and adv_campaign_datetime_start <= %(second)s",
            values,
        )
        return made


@retry(
    # A database that is just being restarted: waiting is quicker than starting the query again.
    retry=retry_if_exception_type(psycopg2.OperationalError),
    stop=stop_after_delay(30),
    wait=wait_fixed(0.5),
    reraise=True,
)
def take_campaigns(dsn: str, campaigns: Sequence[tuple[Any, ...]]) -> int:
    """Write campaign messages and make the notifications of those that are live now; returns how many were made.

    Each campaign is a tuple in the order of CAMPAIGN_COLUMNS, datetime_created, PLACE_COLUMNS. Doing it twice, or an
    older message after a newer one, changes nothing.
    """
    newest: dict[str, tuple[Any, ...]] = {}
    for campaign in campaigns:  # one statement must not update a row twice
        known = newest.get(campaign[1])
        if known is None or known[AGE] < campaign[AGE]:
            newest[campaign[1]] = campaign
    with transaction(dsn) as cursor:
        turn = Turn.take(cursor)
        psycopg2.extras.execute_values(cursor, UPSERT, list(newest.values()))
        return turn.notify(list(newest))


def sweep(dsn: str, interval: float) -> int | None:
    """Notify who is new among the subscribers of some live campaigns that were not looked at for `interval` seconds.

    Returns how many were notified, or None when no campaign was due.
    """
    with transaction(dsn) as cursor:
        turn = Turn.take(cursor)
        cursor.execute(DUE, {"second": turn.second, "interval": interval, "limit": SWEEP_CAMPAIGNS})
        due = [row[0] for row in cursor.fetchall()]
        return turn.notify(due) if due else None
