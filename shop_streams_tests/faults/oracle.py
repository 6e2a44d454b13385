"""DuckDB over what the clients know was acknowledged, against what came out. Nothing of the project computes an expectation."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.app_events.schema import ENRICHED
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.postgres import transaction
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams_tests.faults.click_oracle import click_differences
from shop_streams_tests.faults.ledger import Ledger
from shop_streams_tests.harness import Stack

Place = tuple[str, str]
NOTIFICATION_FIELDS = (
    "restaurant_id", "adv_campaign_id", "adv_campaign_content", "adv_campaign_owner", "adv_campaign_owner_contact",
    "adv_campaign_datetime_start", "adv_campaign_datetime_end", "client_id", "datetime_created", "trigger_datetime_created",
)  # fmt: skip
METRICS = """
select epoch(date_trunc('hour', make_timestamp(timestamp * 1000)))::bigint as start_ts,
       start_ts + 3600 as end_ts,
       coalesce(sum(item_price) filter (event_type = 'buy'), 0)::bigint as revenue,
       count(uid) as visitors,
       count(*) filter (event_type = 'buy') as purchases,
       case when purchases > 0 then revenue / purchases end as aov
from sales group by 1 order by 1
"""
ENRICHMENT = """
with actions as (
    select "window", user_id, event_action, count(*) as times
    from enriched where event_action is not null group by "window", user_id, event_action),
best as (
    select *, row_number() over (partition by "window", user_id order by times desc, event_action) as place
    from actions)
select count(*) from (
    select e.u_count, e.u_mp_ea, count(*) over (partition by e."window", e.user_id) as n, b.event_action
    from enriched e left join best b on b."window" = e."window" and b.user_id = e.user_id and b.place = 1)
where u_count <> n or u_mp_ea is distinct from event_action
"""


def differences(stack: Stack, ledger: Ledger, day_filter: str) -> Iterator[str]:
    """Each way in which the tables, the topic and the marts differ from the ledger, in words; nothing when all is right.

    `day_filter` is SQL over `start_ts`: the hours that belong to this ledger alone.
    """
    yield from _notifications(stack, ledger)
    yield from click_differences(stack, ledger)
    database = duckdb.connect()
    settings = stack.settings
    letters = reader.scan(DEAD_LETTERS.uri(settings), ["raw"], pc.field("domain") == "sales")
    refused = [raw.decode(errors="replace") for raw in letters["raw"].to_pylist() if raw and ledger.tag.encode() in raw]
    database.register("tracked", pa.Table.from_pylist(ledger.tracked))
    database.register("sales", pa.Table.from_pylist(ledger.sales))
    database.register("broken", pa.table({"raw": pa.array(ledger.broken, pa.string())}))
    database.register("refused", pa.table({"raw": pa.array(refused, pa.string())}))

    columns = ["event_id", "app_name", "user_id", "event_action", "window", "u_count", "u_mp_ea"]
    database.register("enriched", reader.scan(ENRICHED.uri(settings), columns))
    database.register("shop_rows", reader.scan(SHOP_EVENTS.uri(settings), ["item_id", "category"]))
    database.execute(f"create view tracked_rows as select * from enriched where app_name = '{ledger.tag}'")
    database.execute(f"create view sales_rows as select * from shop_rows where category = '{ledger.tag}'")
    yield from _sets(database, "tracked events", "tracked", "tracked_rows", "event_id")
    yield from _sets(database, "sales", "sales", "sales_rows", "item_id")
    yield from _sets(database, "dead letters", "broken", "refused", "raw")
    wrong = _value(database, ENRICHMENT)
    if wrong:
        yield f"{wrong} enriched rows have another u_count or u_mp_ea than DuckDB"
    expected = _rows(database, METRICS)
    fields = ["start_ts", "end_ts", "revenue", "visitors", "purchases", "aov"]
    database.register("mart_arrow", reader.scan(HOURLY.uri(settings), fields))
    yield from _hours(
        "mart", expected, _rows(database, f"select * from mart_arrow where {day_filter} order by start_ts")
    )
    last = {record.key: json.loads(record.value) for record in read_topic(settings.kafka, "hourly_metrics")}
    database.register(
        "sent", pa.Table.from_pylist([{name: record[name] for name in fields} for record in last.values()])
    )
    sent = f"select * from sent where {day_filter} order by start_ts"
    yield from _hours("topic hourly_metrics", expected, _rows(database, sent))


def expected_notifications(ledger: Ledger) -> tuple[set[Place], set[Place]]:
    """(campaign, client) that must have been notified by now, and those that may have been."""
    now = time.time()
    live = {
        message["adv_campaign_id"]: message["restaurant_id"]
        for message in ledger.campaigns
        if message["adv_campaign_datetime_start"] <= now < message["adv_campaign_datetime_end"]
    }

    def pairs(subscriptions: list[tuple[str, str]]) -> set[Place]:
        return {
            (one, client) for one, place in live.items() for client, restaurant in subscriptions if restaurant == place
        }

    return pairs(ledger.subscriptions), pairs(ledger.ever_subscribed)


def published_notifications(stack: Stack, ledger: Ledger) -> list[dict[str, Any]]:
    """The notifications of the ledger's campaigns that PostgreSQL calls published."""
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(
            f"select {', '.join(NOTIFICATION_FIELDS)} from subscribers_feedback where adv_campaign_owner = %s"
            " and outbox <= (select published from promotion_topic)",
            (ledger.tag,),
        )
        return [dict(zip(NOTIFICATION_FIELDS, row, strict=True)) for row in cursor.fetchall()]


def _notifications(stack: Stack, ledger: Ledger) -> Iterator[str]:
    """Each client once in both sinks, none missed, none who never subscribed, nothing outside of a campaign's time."""
    must, may = expected_notifications(ledger)
    rows = published_notifications(stack, ledger)
    values = [json.loads(one.value) for one in read_topic(stack.settings.kafka, "promotion_notifications")]
    sent = [value for value in values if value["adv_campaign_owner"] == ledger.tag]
    for what, found in (("PostgreSQL", rows), ("topic promotion_notifications", sent)):
        places = [(one["adv_campaign_id"], one["client_id"]) for one in found]
        problems = {
            "missed": must - set(places),
            "notified without a reason": set(places) - may,
            "twice": {one for one, times in Counter(places).items() if times > 1},
        }
        yield from (
            f"{what}: {len(wrong)} {name}, the first: {min(wrong)}" for name, wrong in problems.items() if wrong
        )
        late = [
            one
            for one in found
            if not one["adv_campaign_datetime_start"]
            <= one["trigger_datetime_created"]
            < one["adv_campaign_datetime_end"]
        ]
        if late:
            yield f"{what}: {len(late)} outside of their campaign's time, the first: {late[0]}"
    by_place = {(one["adv_campaign_id"], one["client_id"]): one for one in rows}
    wrong = [one for one in sent if by_place.get((one["adv_campaign_id"], one["client_id"])) != one]
    if wrong:
        yield f"{len(wrong)} notifications in the topic differ from PostgreSQL, the first: {wrong[0]}"


def _sets(database: Any, what: str, wanted: str, found: str, key: str) -> Iterator[str]:
    """0 lost, 0 twice, 0 that nobody sent."""
    questions = {
        "lost": f"select {key} from {wanted} where {key} not in (select {key} from {found})",
        "twice": f"select {key} from {found} group by 1 having count(*) > 1",
        "never sent": f"select {key} from {found} where {key} not in (select {key} from {wanted})",
    }
    for problem, question in questions.items():
        wrong = database.execute(question).fetchall()
        if wrong:
            yield f"{len(wrong)} {what} {problem}, the first: {wrong[0][0]}"


def _hours(what: str, expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> Iterator[str]:
    if expected != found:
        first = next((pair for pair in zip(expected, found, strict=False) if pair[0] != pair[1]), None)
        yield f"{what}: {len(found)} hours, expected {len(expected)}; the first difference (expected, found): {first}"


def _rows(database: Any, query: str) -> list[tuple[Any, ...]]:
    return database.execute(query).fetchall()


def _value(database: Any, query: str) -> int:
    return int(database.execute(query).fetchone()[0])
