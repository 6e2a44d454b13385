"""The outbox of promotions: a publisher sends notifications from PostgreSQL to Kafka, each once, and a sweeper makes new ones.

Both run in the stream's run, beside its query. One Kafka transaction sends the notifications of one sequence number,
and the number itself to a second, compacted topic. A new publisher fences the old one (`topic.transactional_id`), reads
the last published number and continues from there. A consumer group's offset could hold that number too, but
librdkafka's call for it ignores its timeout while a broker restarts (librdkafka issue 5456).
"""

from __future__ import annotations

import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import psycopg2
from confluent_kafka import KafkaException, Producer

from shop_streams.defs.promotions import notifications
from shop_streams.defs.promotions.compare import compare
from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC, outbox_of
from shop_streams.defs.promotions.topic import (
    KAFKA_SECONDS,
    Sequence,
    commit,
    key_of,
    transactional,
    transactional_id,
    value_of,
)
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import TopicSilent
from shop_streams.kafka_access import refusal
from shop_streams.kafka_send import produce
from shop_streams.plain import plain
from shop_streams.postgres import connect, listening, transaction
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Superseded
from shop_streams.topics import Topic

SWEEP_TICK_SECONDS = 1.0
LISTEN_SECONDS = 2.0  # then the table is read without a notice, because a notice may get lost
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 90.0  # a broker or a database that is unavailable for longer fails the run
# A thread without progress for this long fails the run. It is longer than PATIENCE_SECONDS and every time-out.
STUCK_SECONDS = 180.0
STOP_SECONDS = 10.0
READ_ROWS = 5_000
SAMPLES = 10_000

PUBLISHED = """
with newer as (update promotion_topic set published = %(to)s where published < %(to)s returning published)
delete from promotion_numbers where number < (select published from newer)
"""
LOCK_LEASE = "select from stream_leases where stream = %s and epoch = %s and released_at is null for share"
NUMBERS = """
select (select count(*) from promotion_campaigns
         where adv_campaign_datetime_start <= now.second and adv_campaign_datetime_end > now.second) as campaigns_live,
       (select count(*) from promotion_campaigns where adv_campaign_datetime_start > now.second) as campaigns_waiting,
       (select count(*) from subscribers_feedback where trigger_datetime_created > now.second - 86400) as notified_in_24_hours,
       (select count(*) from subscribers_feedback where outbox > (select published from promotion_topic)) as not_yet_in_kafka
  from (select floor(extract(epoch from clock_timestamp()))::int8 as second) as now
"""

Temporary = (psycopg2.OperationalError, psycopg2.InterfaceError, KafkaException, TopicSilent)


class OutboxStuck(ShopStreamsError):
    """A thread of the outbox makes no progress and raises no error."""


class Outbox:
    """The publisher and the sweeper of one run of the stream, each in a thread.

    They wait while the database or the broker is unavailable. Any other error ends the thread, and `check` raises it.
    """

    def __init__(self, settings: Settings, stream: str, epoch: int, topic: Topic = NOTIFICATIONS_TOPIC) -> None:
        self._settings = settings
        self._topic = topic.name
        self._sequence_topic = outbox_of(topic).name
        self._stream = stream
        self._epoch = epoch
        self._over = threading.Event()
        self._problem: BaseException | None = None
        self._latencies: deque[float] = deque(maxlen=SAMPLES)
        self._last_progress = dict.fromkeys(("publisher", "sweeper"), time.monotonic())
        self._threads = [
            threading.Thread(target=self._guard, args=(name, work), name=name, daemon=True)
            for name, work in zip(self._last_progress, (self._publish, self._sweep), strict=True)
        ]

    def __enter__(self) -> Outbox:
        """The threads run while the block does."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            # A thread that still waits for a broker ends with the process; the next publisher fences it.
            thread.join(STOP_SECONDS)

    def check(self) -> None:
        """Raise the error that ended one of the threads, if there is one.

        Raises:
            OutboxStuck: no error, but no progress for 180 s.
        """
        if self._problem is not None:
            raise self._problem
        for name, worked in self._last_progress.items():
            if time.monotonic() - worked > STUCK_SECONDS:
                raise OutboxStuck(
                    f"the {name} of notifications has been waiting for more than {STUCK_SECONDS:.0f} s, for Kafka or for a "
                    "lock in PostgreSQL (pg_stat_activity shows it). The next run repeats its work."
                )

    def metrics(self) -> dict[str, float]:
        """Numbers for the UI's plots: campaigns live and waiting, notified, and milliseconds from message to Kafka."""
        with transaction(self._settings.postgres) as cursor:
            cursor.execute(NUMBERS)
            names = [column.name for column in cursor.description]
            numbers = dict(zip(names, cursor.fetchone(), strict=True))
        samples = list(self._latencies)
        self._latencies.clear()
        if len(samples) > 1:
            cuts = quantiles(samples, n=100)
            numbers |= {"latency_p50_ms": round(1000 * cuts[49]), "latency_p99_ms": round(1000 * cuts[98])}
        return numbers

    def _guard(self, name: str, work: Callable[[], Iterator[None]]) -> None:
        """Run `work`, which yields after each step; start it again after a temporary error, for PATIENCE_SECONDS without a step."""
        # Rows of an unfinished number are no step: their commit may fail each time.
        stepped, failed = time.monotonic(), False
        while not self._over.is_set():
            try:
                for _ in work():
                    self._last_progress[name] = stepped = time.monotonic()
                    failed = False
                    if self._over.is_set():
                        return
            except Temporary as problem:
                refused = refusal(self._settings.kafka, problem, self._topic, self._sequence_topic)
                if refused is not None:  # to wait does not help
                    self._problem = refused
                    return
                if failed and time.monotonic() - stepped > PATIENCE_SECONDS:
                    self._problem = problem
                    return
                if not failed:
                    told = plain(str(problem), 200)
                    print(f"{self._stream}: the {name} tries again: {told}", file=sys.stderr, flush=True)
                failed = True
                self._over.wait(RETRY_SECONDS)
            except BaseException as problem:  # `check` raises it again, in the run's own thread
                self._problem = problem
                return

    def _require_lease(self, cursor: Any) -> None:
        """Lock the lease's row until the transaction ends: no other run can acquire the lease before that."""
        cursor.execute(LOCK_LEASE, (self._stream, self._epoch))
        if cursor.fetchone() is None:
            raise Superseded(f"epoch {self._epoch} of {self._stream} was revoked, or a newer one exists")

    def _sweep(self) -> Iterator[None]:
        while True:
            if notifications.sweep(self._settings.postgres, self._settings.promotion_sweep_seconds) is None:
                self._over.wait(SWEEP_TICK_SECONDS)
            yield

    def _publish(self) -> Iterator[None]:
        dsn = self._settings.postgres
        with transaction(dsn) as cursor:
            self._require_lease(cursor)  # a run that lost its lease must not fence its successor
            cursor.execute("select name::text from promotion_outbox")
            (database,) = cursor.fetchone()
        with (
            listening(dsn, notifications.CHANNEL) as notices,
            transactional(self._settings.kafka, transactional_id(self._sequence_topic, database)) as producer,
        ):
            name, published = compare(self._settings, self._topic, self._sequence_topic)
            while True:
                with transaction(dsn) as cursor:
                    cursor.execute(PUBLISHED, {"to": published})
                    cursor.execute("select made from promotion_outbox")
                    (made,) = cursor.fetchone()
                if published < made:
                    published += 1
                    if not self._send(producer, name, published):
                        yield
                        return  # `_guard` begins again, with a new producer
                else:
                    select.select([notices], [], [], LISTEN_SECONDS)
                    notices.poll()
                    notices.notifies.clear()
                yield

    def _send(self, producer: Producer, name: str, number: int) -> bool:
        """Send every notification of the sequence `number` in one Kafka transaction; expired ones are deleted, not sent.

        Returns whether the producer may send another one (`topic.commit`).
        """
        with transaction(self._settings.postgres) as cursor:
            self._require_lease(cursor)
            cursor.execute(notifications.DELETE_EXPIRED, (number,))
            cursor.execute("select stamp::text from promotion_numbers where number = %s", (number,))
            stamps = [row[0] for row in cursor.fetchall()]  # none of an earlier version
        producer.begin_transaction()
        ages = []
        for row in self._rows(number):
            produce(producer, self._topic, value_of(row), key_of(row))
            self._last_progress["publisher"] = time.monotonic()
            if row["seconds"] < self._settings.promotion_sweep_seconds:
                ages.append(row["message_at"])
        sequence = str(Sequence(number, *stamps))
        produce(producer, self._sequence_topic, sequence, name, partition=0)
        again = commit(producer, 2 * KAFKA_SECONDS)
        now = time.time()
        self._latencies.extend(now - age for age in ages)
        return again

    def _rows(self, number: int) -> Iterator[dict[str, Any]]:
        columns = f"{', '.join(NOTIFICATION_COLUMNS)}, extract(epoch from message_at)::float8 as message_at, "
        columns += "extract(epoch from made_at - message_at)::float8 as seconds"
        connection = connect(self._settings.postgres)
        try:
            with connection, connection.cursor("outbox") as cursor:
                cursor.itersize = READ_ROWS
                cursor.execute(f"select {columns} from subscribers_feedback where outbox = %s", (number,))
                names = (*NOTIFICATION_COLUMNS, "message_at", "seconds")
                for row in cursor:
                    yield dict(zip(names, row, strict=True))
        finally:
            connection.close()
