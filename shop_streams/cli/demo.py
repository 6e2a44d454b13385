"""`make demo`: a day of shop traffic through the real endpoints, every mart through Dagster, and every number checked.

The checks are independent of the code that they check: plain Python over what was sent, or over what the topic holds.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster_graphql import DagsterGraphQLClient
from rich.console import Console
from rich.table import Table as RichTable

from shop_streams import kafka
from shop_streams.cli.main import yesterday
from shop_streams.defs.app_events.marts import source_rows_by_window
from shop_streams.defs.app_events.schema import ENRICHED
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC, REPORT
from shop_streams.defs.sales.checks import last_records
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS_TOPIC
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.table import Table
from shop_streams.local import stack
from shop_streams.settings import Settings
from shop_streams.simulate import app_events, promotions, sales
from shop_streams.simulate.send import send
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.replay import find
from shop_streams.streaming.spec import StreamSpec
from shop_streams.terminal import speaker

APP_EVENTS = 10_000
SALES_OVER_HTTP = 5_000
SALES_OVER_KAFKA = 15_000
CAMPAIGNS = 60
WAIT_SECONDS = 240.0


def run_demo(settings: Settings, console: Console, stop_afterwards: bool) -> bool:
    """Run the demo and return whether every check passed. Leaves the stack up unless `stop_afterwards`."""
    console.rule("1. The stack")
    somebodys = stack.is_up(settings)
    stack.up(settings, console)
    with nullcontext() if somebodys else stack.stopping_on_failure(settings):
        right = _play(settings, console)
    if stop_afterwards:
        stack.down(settings, speaker(console))
    return right


def _play(settings: Settings, console: Console) -> bool:
    seed = int(time.time())  # new events every time, so that a second demo over the same home adds to the first
    day = yesterday()
    console.rule("2. A day of traffic: product events over HTTP, shop events over HTTP and Kafka, campaigns")
    tracked = list(app_events.events(APP_EVENTS, seed, day))
    send(settings, app_events.ENDPOINT, tracked, len(tracked))
    shop = list(sales.events(SALES_OVER_HTTP + SALES_OVER_KAFKA, seed, day))
    send(settings, sales.ENDPOINT, shop[::4], len(shop[::4]))
    _produce(settings, [event for number, event in enumerate(shop) if number % 4])

    now = datetime.now(UTC)
    promotions.send(settings, CAMPAIGNS, seed, now)
    wanted = notifications_by_hand(
        list(promotions.campaigns(CAMPAIGNS, seed, now)), promotions.subscriptions(seed), now
    )

    console.rule("3. The streams carry it to the lake")
    for spec in LAKE_STREAMS:
        _wait_for_rows(settings, console, spec)
    _wait(console, f"{len(wanted):,} clients are notified", lambda: wanted <= _notified(settings).keys() or None)

    console.rule("4. Dagster materializes the marts and runs the checks")
    windows = sorted(source_rows_by_window(settings))[-2:]
    _materialize(settings, console, ENRICHED, windows)
    _materialize(settings, console, HOURLY, [f"{day:%Y-%m-%d}"])
    _materialize(settings, console, REPORT, [f"{now:%Y-%m-%d}"])
    letters = {(one["kafka_partition"], one["kafka_offset"]) for one in find(settings, "sales")}
    records = read_topic(settings.kafka, SHOP_EVENTS_TOPIC.name)
    expected = hourly_by_hand([one.value for one in records if (one.partition, one.offset) not in letters])
    _wait(console, "the topic hourly_metrics follows", lambda: _sent(settings) == expected or None)
    _run(settings, console, "all_checks", None, {})

    console.rule("5. What came out")
    checks = {
        f"all {APP_EVENTS:,} tracked events are in the enriched table, each once": _enriched_holds(settings, tracked),
        "u_count and u_mp_ea equal a count by hand": _enrichment_right(settings, windows),
        "the topic's hourly metrics equal a count by hand": _sent(settings) == expected,
        "the mart's hourly metrics equal a count by hand": _mart(settings, f"{day:%Y-%m-%d}")
        == {key: value for key, value in expected.items() if day.timestamp() <= key < day.timestamp() + 86_400},
        f"{len(wanted):,} subscribers of live campaigns were notified, nobody else, and nobody twice": _notified_right(
            settings, seed, now, wanted
        ),
    }
    _print_hours(settings, console, f"{day:%Y-%m-%d}")
    for name, right in checks.items():
        console.print(f"  {'[green]✓[/]' if right else '[red]✗ WRONG:[/]'} {name}", highlight=False)
    url = f"http://127.0.0.1:{settings.dagster_port}"
    console.print(
        f"\nLook at the lineage: {url}/asset-groups\nA stream's plots:    {url}/assets/streams/shop_events_ingest?view=overview\n"
        f"Its switch:          {url}/automation\nThe campaigns:       {url}/assets/promotions/notifications?view=overview\n"
        "A table:             .venv/bin/shop-streams show promotions/campaign_report",
        highlight=False,
    )
    return all(checks.values())


# -- doing -----------------------------------------------------------------------------------------------------------


def _produce(settings: Settings, events: list[dict[str, Any]]) -> None:
    producer = kafka.producer(settings.kafka, {"enable.idempotence": True, "linger.ms": 20})
    for event in events:
        producer.produce(SHOP_EVENTS_TOPIC.name, json.dumps(event))
    if producer.flush(60):
        raise ShopStreamsError(
            "Kafka did not acknowledge every event within 60 s; see logs/kafka.log in the home folder."
        )


def _wait(console: Console, what: str, ready: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    started = time.monotonic()
    with console.status(what):
        while (value := ready()) is None:
            if time.monotonic() > deadline:
                raise ShopStreamsError(
                    f"Waited {WAIT_SECONDS:.0f} s in vain: {what}. `shop-streams status` and the runs in Dagster tell why."
                )
            time.sleep(0.5)
    console.print(f"  [green]✓[/] {what} ({time.monotonic() - started:.0f} s)", highlight=False)
    return value


def _wait_for_rows(settings: Settings, console: Console, spec: StreamSpec) -> None:
    def arrived() -> bool | None:
        return all(one.missing == one.in_flight == 0 for one in accounts(spec, settings)) or None

    _wait(console, f"all records of the topic {spec.topic.name} are in the lake", arrived)


def _materialize(settings: Settings, console: Console, table: Table, partitions: list[str]) -> None:
    for partition in partitions:
        _run(settings, console, "__ASSET_JOB", [asset_key(table)], {"dagster/partition": partition})


def _run(
    settings: Settings, console: Console, job: str, selection: list[dg.AssetKey] | None, tags: dict[str, str]
) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=settings.dagster_port)
    run_id = client.submit_job_execution(job, tags=tags, asset_selection=selection)
    what = f"{selection[0].to_user_string() if selection else job} {tags.get('dagster/partition', '')}".strip()
    finished = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

    def status() -> dg.DagsterRunStatus | None:
        state = client.get_run_status(run_id)
        return state if state in finished else None

    if _wait(console, what, status) is not dg.DagsterRunStatus.SUCCESS:
        raise ShopStreamsError(f"The run failed: http://127.0.0.1:{settings.dagster_port}/runs/{run_id}")


# -- independent expectations ----------------------------------------------------------------------------------------


def hourly_by_hand(values: list[bytes]) -> dict[int, tuple[Any, ...]]:
    """start_ts -> (end_ts, revenue, visitors, purchases, aov) of shop events, in plain Python."""
    hours: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for value in values:
        event = json.loads(value)
        hours[event["timestamp"] // 3_600_000 * 3600].append(event)
    result: dict[int, tuple[Any, ...]] = {}
    for start, events in hours.items():
        prices = [event["item_price"] for event in events if event["event_type"] == "buy"]
        visitors = sum(event.get("uid") is not None for event in events)
        result[start] = (
            start + 3600,
            sum(prices),
            visitors,
            len(prices),
            sum(prices) / len(prices) if prices else None,
        )
    return result


def notifications_by_hand(
    campaigns: list[dict[str, Any]], subscriptions: list[tuple[str, str]], now: datetime
) -> set[tuple[str, str]]:
    """(campaign, client) of campaigns that are live at `now`, in plain Python."""
    return {
        (campaign["adv_campaign_id"], client)
        for campaign in campaigns
        for client, restaurant in subscriptions
        if restaurant == campaign["restaurant_id"]
        and campaign["adv_campaign_datetime_start"] <= now.timestamp() < campaign["adv_campaign_datetime_end"]
    }


def _notified(settings: Settings) -> Counter[tuple[str, str]]:
    """How often the topic has each (campaign, client)."""
    values = [json.loads(record.value) for record in read_topic(settings.kafka, NOTIFICATIONS_TOPIC.name)]
    return Counter((value["adv_campaign_id"], value["client_id"]) for value in values)


def _notified_right(settings: Settings, seed: int, now: datetime, wanted: set[tuple[str, str]]) -> bool:
    later = {
        campaign["adv_campaign_id"]
        for campaign in promotions.campaigns(CAMPAIGNS, seed, now)
        if campaign["adv_campaign_datetime_start"] > now.timestamp()  # may have begun by now
    }
    ours = {campaign["adv_campaign_id"] for campaign in promotions.campaigns(CAMPAIGNS, seed, now)} - later
    found = {place: times for place, times in _notified(settings).items() if place[0] in ours}
    return found == dict.fromkeys(wanted, 1)


def _as_tuple(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("end_ts", "revenue", "visitors", "purchases", "aov"))


def _sent(settings: Settings) -> dict[int, tuple[Any, ...]]:
    return {int(key): _as_tuple(record) for key, record in last_records(settings).items()}


def _mart_rows(settings: Settings, day: str) -> list[dict[str, Any]]:
    rows = reader.scan(HOURLY.uri(settings), [column.name for column in HOURLY.columns]).to_pylist()
    return sorted((row for row in rows if str(row["event_date"]) == day), key=lambda row: row["start_ts"])


def _mart(settings: Settings, day: str) -> dict[int, tuple[Any, ...]]:
    return {row["start_ts"]: _as_tuple(row) for row in _mart_rows(settings, day)}


def _enriched_holds(settings: Settings, tracked: list[dict[str, Any]]) -> bool:
    fields = ("event_id", "user_id", "app_name", "event_category", "event_action", "event_value")
    sent = {event["event_id"]: tuple(event[name] for name in fields) for event in tracked}
    rows = reader.scan(ENRICHED.uri(settings), list(fields)).to_pylist()
    found = [tuple(row[name] for name in fields) for row in rows if row["event_id"] in sent]
    return sorted(found, key=str) == sorted(sent.values(), key=str)


def _enrichment_right(settings: Settings, windows: list[str]) -> bool:
    rows = reader.scan(ENRICHED.uri(settings), ["window", "user_id", "event_action", "u_count", "u_mp_ea"]).to_pylist()
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["window"] in windows:
            groups[row["window"], row["user_id"]].append(row)
    for group in groups.values():
        actions = Counter(row["event_action"] for row in group if row["event_action"] is not None)
        favourite = min(actions, key=lambda action: (-actions[action], action)) if actions else None
        if any((row["u_count"], row["u_mp_ea"]) != (len(group), favourite) for row in group):
            return False
    return True


def _print_hours(settings: Settings, console: Console, day: str) -> None:
    rows = _mart_rows(settings, day)
    most = max((row["revenue"] for row in rows), default=0) or 1
    grid = RichTable("hour", "revenue", "", "visitors", "unique", "purchases", "aov", title=f"The shop on {day} (UTC)")
    for row in rows:
        hour = time.strftime("%H:%M", time.gmtime(row["start_ts"]))
        aov = "" if row["aov"] is None else f"{row['aov']:,.2f}"
        bar = "█" * round(15 * row["revenue"] / most)
        grid.add_row(
            hour,
            f"{row['revenue']:,}",
            f"[cyan]{bar}[/]",
            str(row["visitors"]),
            str(row["unique_visitors"]),
            str(row["purchases"]),
            aov,
        )
    console.print(grid)
