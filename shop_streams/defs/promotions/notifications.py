"""Promotions in PostgreSQL: one transaction decides which clients are notified; a unique constraint prevents repeats.

`subscribers_feedback` holds each notification once. Notifications of one transaction have the same sequence number (column
`outbox`). Sequence numbers rise in the order of the transactions, so Kafka holds all notifications up to one number.
Spark's worker imports this file: keep it light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from shop_streams.defs.promotions.tables import SubscribersMissing
from shop_streams.postgres import transaction

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
ORIGIN_COLUMNS = ("message_at", "kafka_partition", "kafka_offset")
AGE = slice(len(CAMPAIGN_COLUMNS), None)  # the part of a campaign's tuple that tells which message is newer
CHANNEL = "promotion_outbox"
CLIENT_BYTES = 1000  # a longer client_id does not fit into the index
# What a restored database has another one of: a backup of files needs a restart, a dump makes the table again.
PLACE = "pg_postmaster_start_time()::text || ' ' || 'promotion_outbox'::regclass::oid"
SWEEP_CAMPAIGNS = 20  # in one transaction; a new campaign waits until it ends

UPSERT = f"""
insert into promotion_campaigns as known ({", ".join(CAMPAIGN_COLUMNS)}, datetime_created, {", ".join(ORIGIN_COLUMNS)})
values %s
on conflict (adv_campaign_id) do update
   set {", ".join(f"{name} = excluded.{name}" for name in (*CAMPAIGN_COLUMNS, "datetime_created", *ORIGIN_COLUMNS))},
       swept_at = null
 where (excluded.datetime_created, excluded.message_at, excluded.kafka_partition, excluded.kafka_offset)
     > (known.datetime_created, known.message_at, known.kafka_partition, known.kafka_offset)
"""

NOTIFY_SUBSCRIBERS = f"""
insert into subscribers_feedback ({", ".join(NOTIFICATION_COLUMNS)}, message_at, made_at, outbox)
select {", ".join(f"c.{name}" for name in CAMPAIGN_COLUMNS)}, s.client_id, c.datetime_created, %(second)s,
       c.message_at, clock_timestamp(), %(sequence)s
  from promotion_campaigns c join subscribers_restaurants s on lower(s.restaurant_id) = c.restaurant_id
 where c.adv_campaign_id = any(%(campaigns)s)
   and c.adv_campaign_datetime_start <= %(second)s and c.adv_campaign_datetime_end > %(second)s
   and octet_length(s.client_id) <= {CLIENT_BYTES}
   and not exists (select from subscribers_feedback f
                    where f.adv_campaign_id = c.adv_campaign_id and f.client_id = s.client_id)
   and not exists (select from promotion_forgotten g
                    where g.adv_campaign_id = c.adv_campaign_id
                      and g.client = sha256((select secret from forgotten_key) || convert_to(s.client_id, 'UTF8')))
on conflict (adv_campaign_id, client_id) do nothing
"""

COUNT_DAY = """
insert into promotion_days as known (day, notified) values (%(day)s, %(made)s)
on conflict (day) do update set notified = known.notified + excluded.notified
"""

DELETE_EXPIRED = """
with expired as (
    delete from subscribers_feedback
     where outbox = %s and adv_campaign_datetime_end <= extract(epoch from clock_timestamp())
    returning (to_timestamp(trigger_datetime_created) at time zone 'UTC')::date as day)
update promotion_days d set notified = d.notified - e.number, taken_back = d.taken_back + e.number
  from (select day, count(*) as number from expired group by day) e
 where d.day = e.day
"""

DUE = """
select adv_campaign_id from promotion_campaigns
 where adv_campaign_datetime_start <= %(second)s and adv_campaign_datetime_end > %(second)s
   and (swept_at is null or swept_at < clock_timestamp() - make_interval(secs => %(interval)s)
        or swept_at > clock_timestamp())  -- the clock was set back
 order by swept_at nulls first
 limit %(limit)s
"""


class NotCompared(psycopg2.OperationalError):
    """This database has started, and its sequence numbers were not yet compared with those in Kafka: it may be an older one."""


@dataclass(frozen=True)
class SequenceLock:
    """The lock for making notifications, held until the transaction ends, so that sequence numbers follow the order of commits.

    `second` is the database's clock in epoch seconds. `next_sequence` is the number of this transaction's
    notifications.
    """

    cursor: Any
    second: int
    next_sequence: int

    @classmethod
    def acquire(cls, cursor: Any, trial: bool = False) -> SequenceLock:
        """Wait for the lock, and read the clock under it. `trial`: the transaction will be rolled back.

        Raises:
            NotCompared: the publisher must first compare this database with Kafka.
        """
        # Read only these restaurants' subscribers, whatever the statistics say.
        cursor.execute("set local enable_seqscan = off")
        cursor.execute(f"select made + 1, compared <> {PLACE} from promotion_outbox for update")
        next_sequence, moved = cursor.fetchone()
        if moved and not trial:
            raise NotCompared("PostgreSQL was started, and the publisher has not yet compared it with Kafka")
        cursor.execute("select floor(extract(epoch from clock_timestamp()))::int8")
        (second,) = cursor.fetchone()
        return cls(cursor, second, next_sequence)

    def notify(self, campaign_ids: list[str]) -> int:
        """Make the missing notifications of those campaigns that are live now; returns how many were made."""
        values = {"campaigns": campaign_ids, "second": self.second, "sequence": self.next_sequence}
        try:
            self.cursor.execute(NOTIFY_SUBSCRIBERS, values)
        except psycopg2.errors.UndefinedTable as error:
            if "subscribers_restaurants" not in str(error):
                raise
            raise SubscribersMissing from error
        made = int(self.cursor.rowcount)
        if made:
            self.cursor.execute("update promotion_outbox set made = %s", (self.next_sequence,))
            self.cursor.execute("insert into promotion_numbers (number) values (%s)", (self.next_sequence,))
            self.cursor.execute(COUNT_DAY, {"day": datetime.fromtimestamp(self.second, UTC).date(), "made": made})
            self.cursor.execute(f"notify {CHANNEL}")
        self.cursor.execute(
            "update promotion_campaigns set swept_at = clock_timestamp()"
            " where adv_campaign_id = any(%(campaigns)s) and adv_campaign_datetime_start <= %(second)s",
            values,
        )
        return made


@retry(
    # While the database restarts, waiting is faster than a new start of the query.
    retry=retry_if_exception_type(psycopg2.OperationalError),
    stop=stop_after_delay(30),
    wait=wait_fixed(0.5),
    reraise=True,
)
def write_campaigns(dsn: str, campaigns: Sequence[tuple[Any, ...]]) -> int:
    """Write campaign messages and make the notifications of those that are live now; returns how many were made.

    Each campaign is a tuple in the order of CAMPAIGN_COLUMNS, datetime_created, ORIGIN_COLUMNS. Writing a
    message twice, or an older one after a newer one, changes nothing.
    """
    with transaction(dsn) as cursor:
        return _write(cursor, campaigns)


def try_campaigns(dsn: str, campaigns: Sequence[tuple[Any, ...]]) -> None:
    """As `write_campaigns`, with the same errors, but rolled back."""
    with transaction(dsn) as cursor:
        _write(cursor, campaigns, trial=True)
        cursor.connection.rollback()


def _write(cursor: Any, campaigns: Sequence[tuple[Any, ...]], trial: bool = False) -> int:
    newest: dict[str, tuple[Any, ...]] = {}
    for campaign in campaigns:  # one statement must not update a row twice
        known = newest.get(campaign[1])
        if known is None or known[AGE] < campaign[AGE]:
            newest[campaign[1]] = campaign
    if not newest:
        return 0
    lock = SequenceLock.acquire(cursor, trial)
    psycopg2.extras.execute_values(cursor, UPSERT, list(newest.values()))
    return lock.notify(list(newest))


def sweep(dsn: str, interval: float) -> int | None:
    """Notify new subscribers of live campaigns whose subscribers were last notified more than `interval` seconds ago.

    Returns how many were notified, or None when no campaign was due.
    """
    with transaction(dsn) as cursor:
        lock = SequenceLock.acquire(cursor)
        cursor.execute(DUE, {"second": lock.second, "interval": interval, "limit": SWEEP_CAMPAIGNS})
        due = [row[0] for row in cursor.fetchall()]
        return lock.notify(due) if due else None
