"""The check that PostgreSQL and Kafka hold the same notifications."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.persons import forgotten_notifications
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC
from shop_streams.defs.promotions.streams import FEEDBACK
from shop_streams.kafka import offsets_at, read_topic
from shop_streams.postgres import transaction
from shop_streams.settings import Settings

RECENT_SECONDS = 3600
CLOCKS_DIFFER_SECONDS = 600

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
    wanted = _rows(
        settings, "trigger_datetime_created > %s and outbox <= (select published from promotion_topic)", since
    )
    # PostgreSQL's clock and the broker's may differ, and a notification is made before it is sent. `older` takes what is too much.
    (first,) = offsets_at(settings.kafka, NOTIFICATIONS_TOPIC.name, [since - CLOCKS_DIFFER_SECONDS])
    sent = [json.loads(record.value) for record in read_topic(settings.kafka, NOTIFICATIONS_TOPIC.name, first)]
    unknown = [key(one) for one in sent if key(one) not in wanted]
    older = _rows(settings, "(adv_campaign_id, client_id) in %s", tuple(unknown)) if unknown else {}
    removed = forgotten_notifications(settings.postgres, set(unknown) - older.keys())
    problems = disagreements(wanted, wanted | older, [one for one in sent if key(one) not in removed])
    return dg.AssetCheckResult(
        passed=not problems,
        description="; ".join(problems[:5]) or None,
        metadata={
            "in_postgres": len(wanted),
            "in_topic": len(sent),
            "disagreements": len(problems),
            "of_forgotten_clients": len(removed),
        },
    )


def key(notification: Notification) -> tuple[str, str]:
    """The unique key of a notification: campaign and client."""
    return notification["adv_campaign_id"], notification["client_id"]


def disagreements(
    wanted: Mapping[tuple[str, str], Notification],
    known: Mapping[tuple[str, str], Notification],
    sent: Sequence[Notification],
) -> list[str]:
    """A text for each notification that the topic lacks (`wanted`), has more than once, or has with other values than `known`."""
    times = Counter(key(one) for one in sent)
    return [
        *[f"{campaign}:{client} is not in the topic" for campaign, client in wanted.keys() - times.keys()],
        *[
            f"{campaign}:{client} is in the topic {count} times"
            for (campaign, client), count in times.items()
            if count > 1
        ],
        *[f"{':'.join(key(one))} differs from PostgreSQL" for one in sent if known.get(key(one)) != one],
    ]


def _rows(settings: Settings, where: str, value: Any) -> dict[tuple[str, str], Notification]:
    with transaction(settings.postgres) as cursor:
        cursor.execute(f"select {', '.join(NOTIFICATION_COLUMNS)} from subscribers_feedback where {where}", (value,))
        rows = [dict(zip(NOTIFICATION_COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    return {key(row): row for row in rows}
