"""The check that PostgreSQL and Kafka hold the same notifications.

A campaign may have a million subscribers, and each notification has the campaign's text. So both are read row by row, and 16
bytes of each notification are kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, islice
from typing import Any, NamedTuple

import dagster as dg
import numpy as np

from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.persons import forgotten_notifications
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC
from shop_streams.defs.promotions.streams import FEEDBACK
from shop_streams.kafka import each_record, offsets_at
from shop_streams.postgres import transaction
from shop_streams.settings import Settings

RECENT_SECONDS = 3600
CLOCKS_DIFFER_SECONDS = 600
READ_ROWS = 1_000  # of PostgreSQL at once: each may have a text of 1 MiB
LOOKED_UP = 5_000  # keys in one question to PostgreSQL
SHOWN = 5
RECENT = "trigger_datetime_created > %s and outbox <= (select published from promotion_topic)"
DIGESTS = np.dtype([("key", np.uint64), ("value", np.uint64)])
as_text = json.JSONEncoder(sort_keys=True).encode

Notification = Mapping[str, Any]


# It is on this table because Dagster calls a check outdated after each report of its asset, and this asset has no
# reports.
@dg.asset_check(
    asset=FEEDBACK,
    name="both_sinks_agree",
    description="In the last hour, each notification that PostgreSQL calls published is in the topic once, with the same values, "
    "and the topic holds no other notification, except of clients whose rows were removed (`forget-user`).",
)
def both_sinks_agree(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    since = time.time() - RECENT_SECONDS
    wanted = digests(_rows(settings, RECENT, since))
    # PostgreSQL's clock and the broker's may differ, and a notification is made before it is sent. `older` takes what is too much.
    (first,) = offsets_at(settings.kafka, NOTIFICATIONS_TOPIC.name, [since - CLOCKS_DIFFER_SECONDS])
    sent, older, removed, ignored = _compare_sent(settings, first, wanted)
    others = sent[~np.isin(sent["key"], removed)]
    count, problems = disagreements(wanted, np.concatenate([wanted, older]), others)
    names = _names(settings, since, first, {number for number, _ in problems}) if problems else {}
    told = [f"{names.get(number, 'a notification that is gone by now')} {problem}" for number, problem in problems]
    return dg.AssetCheckResult(
        passed=not count,
        description="; ".join(told) or None,
        metadata={
            "in_postgres": len(wanted),
            "in_topic": len(sent),
            "disagreements": count,
            "of_forgotten_clients": len(np.unique(removed)),
            "records_ignored": ignored,
        },
    )


def parsed(value: bytes) -> Notification | None:
    """The notification of a record in the topic, where others may write too; None if it is none."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    keyed = isinstance(found, dict) and all(
        isinstance(found.get(name), str) for name in ("adv_campaign_id", "client_id")
    )
    return found if keyed else None


def key(notification: Notification) -> tuple[str, str]:
    """The unique key of a notification: campaign and client."""
    return notification["adv_campaign_id"], notification["client_id"]


def digest(value: object) -> int:
    """8 bytes that tell values of JSON apart. Among a million, two are the same once in 40 million times."""
    return int.from_bytes(blake2b(as_text(value).encode(), digest_size=8).digest())


def digests(notifications: Iterable[Notification]) -> np.ndarray:
    """A row of `DIGESTS` for each notification: the digests of its key and of all its fields, key included."""
    return np.fromiter(((digest(key(one)), digest(one)) for one in notifications), DIGESTS)


def disagreements(wanted: np.ndarray, known: np.ndarray, sent: np.ndarray) -> tuple[int, list[tuple[int, str]]]:
    """Compare `digests`: the number of problems, and the first `SHOWN` as (digest of the key, what is wrong).

    A problem is a notification that the topic lacks (`wanted`), has more than once, or has with other values than `known`.
    """
    missing = np.setdiff1d(wanted["key"], sent["key"])
    keys, times = np.unique(sent["key"], return_counts=True)
    repeated = times > 1
    differing = sent["key"][~np.isin(sent["value"], known["value"])]
    problems = chain(
        ((number, "is not in the topic") for number in missing),
        (
            (number, f"is in the topic {count} times")
            for number, count in zip(keys[repeated], times[repeated], strict=True)
        ),
        ((number, "differs from PostgreSQL") for number in differing),
    )
    first = [(int(number), problem) for number, problem in islice(problems, SHOWN)]
    return len(missing) + int(repeated.sum()) + len(differing), first


class _Sent(NamedTuple):
    """`digests` of the topic's notifications and of the rows that PostgreSQL has of those that are not `wanted`; keys of removed rows.

    `ignored`: the number of records that are no notifications.
    """

    sent: np.ndarray
    older: np.ndarray
    removed: np.ndarray
    ignored: int


def _compare_sent(settings: Settings, first: Mapping[int, int], wanted: np.ndarray) -> _Sent:
    """Read the topic from the offsets `first` on, and look up in PostgreSQL what is not `wanted`."""
    known = np.sort(wanted["key"])
    nothing = np.empty(0, DIGESTS)
    parts, ignored = [(nothing, nothing, nothing["key"])], 0
    records = _sent(settings, first)
    while some := list(islice(records, LOOKED_UP)):
        batch = [(key(one), digest(key(one)), digest(one)) for one in some if one is not None]
        ignored += len(some) - len(batch)
        found = np.array([(number, value) for _, number, value in batch], DIGESTS)
        is_known = np.searchsorted(known, found["key"], "right") > np.searchsorted(known, found["key"], "left")
        unknown = {number: name for (name, number, _), there in zip(batch, is_known, strict=True) if not there}
        older = nothing
        if unknown:
            older = digests(_rows(settings, "(adv_campaign_id, client_id) in %s", tuple(unknown.values())))
        gone = unknown.keys() - older["key"].tolist()
        names = forgotten_notifications(settings.postgres, [unknown[number] for number in gone])
        removed = np.array([digest(name) for name in names], np.uint64)
        parts.append((found, older, removed))
    sent, every_older, every_removed = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _Sent(sent, every_older, every_removed, ignored)


def _names(settings: Settings, since: float, first: Mapping[int, int], keys: Collection[int]) -> dict[int, str]:
    """Digest of a key -> the key in words, campaign:client. Both sinks are read again until all keys are found."""
    names: dict[int, str] = {}
    for one in filter(None, chain(_rows(settings, RECENT, since), _sent(settings, first))):
        if (number := digest(key(one))) in keys:
            names[number] = ":".join(key(one))
            if len(names) == len(keys):
                break
    return names


def _sent(settings: Settings, first: Mapping[int, int]) -> Iterator[Notification | None]:
    """The topic's notifications from these offsets on; None for a record that is none."""
    return (parsed(record.value) for record in each_record(settings.kafka, NOTIFICATIONS_TOPIC.name, first))


def _rows(settings: Settings, where: str, value: Any) -> Iterator[Notification]:
    """PostgreSQL's notifications for which a condition with one value holds."""
    columns = ", ".join(NOTIFICATION_COLUMNS)
    # A cursor with a name is the server's. Without one, the client would get all rows at once.
    with transaction(settings.postgres) as cursor, cursor.connection.cursor("notifications") as rows:
        rows.itersize = READ_ROWS
        rows.execute(f"select {columns} from subscribers_feedback where {where}", (value,))
        for row in rows:
            yield dict(zip(NOTIFICATION_COLUMNS, row, strict=True))
