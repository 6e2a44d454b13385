"""`make demo`: sends a day of shop traffic through the real endpoints, computes the marts in Dagster and checks the counts.

The tests compare every hour, user and campaign with expectations that they compute separately.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Container
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial

import dagster as dg
from dagster_graphql import DagsterGraphQLClient
from rich.console import Console

from shop_streams.cli import demo_clicks, demo_community, demo_sales
from shop_streams.cli.demo_wait import wait
from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.schema import ENRICHED
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.promotions.schema import NOTIFICATIONS_TOPIC, REPORT
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS_TOPIC
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import read_topic
from shop_streams.kafka_send import send_all
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.local import stack
from shop_streams.local.first_day import remember_first_day
from shop_streams.local.stopping import instance_of
from shop_streams.settings import Settings
from shop_streams.simulate import app_events, promotions, sales
from shop_streams.simulate.send import post
from shop_streams.streaming.accounting import topic_account
from shop_streams.streaming.spec import StreamSpec
from shop_streams.terminal import speaker

APP_EVENTS = 10_000
SALES_OVER_HTTP = 5_000
SALES_OVER_KAFKA = 15_000
CAMPAIGNS = 60


def run_demo(settings: Settings, console: Console, stop_afterwards: bool) -> bool:
    """Run the demo; returns whether every check passed. `stop_afterwards` stops the stack, unless it was up before."""
    console.rule("1. The stack")
    settings = remember_first_day(settings)
    was_up = stack.is_up(settings)
    if not was_up:  # a running stack keeps its services
        settings = settings.model_copy(update=demo_clicks.SETTINGS)
    stack.up(settings, console)
    with nullcontext() if was_up else stack.stopping_on_failure(settings, speaker(console)):
        right = _play(settings, console)
    if stop_afterwards and not was_up:
        stack.down(settings, speaker(console))
    return right


def _play(settings: Settings, console: Console) -> bool:
    seed = int(time.time())  # new events each time: a second demo in the same home adds to the first
    day = sales.yesterday()
    console.rule("2. Traffic: product events and clicks over HTTP, shop events over HTTP and Kafka, campaigns, files")
    before = demo_sales.totals(demo_sales.topic_rows(settings, day))
    tracked = list(app_events.events(APP_EVENTS, seed, day))
    post(settings, app_events.ENDPOINT, tracked, len(tracked))
    shop = list(sales.events(SALES_OVER_HTTP + SALES_OVER_KAFKA, seed, day))
    post(settings, sales.ENDPOINT, shop[::4], len(shop[::4]))
    in_kafka = [(None, json.dumps(event)) for number, event in enumerate(shop) if number % 4]
    send_all(settings.kafka, SHOP_EVENTS_TOPIC.name, in_kafka)
    expected = before + demo_sales.totals_of_events(shop)
    clicks = demo_clicks.together(demo_clicks.served(settings), demo_clicks.send_clicks(settings, seed))

    demo_community.deliver(settings, seed)
    now = datetime.now(UTC)
    promotions.send(settings, CAMPAIGNS, seed, now)
    live = {
        campaign["adv_campaign_id"]: campaign["restaurant_id"]
        for campaign in promotions.campaigns(CAMPAIGNS, seed, now)
        if campaign["adv_campaign_datetime_start"] <= now.timestamp() < campaign["adv_campaign_datetime_end"]
    }
    subscribers = Counter(restaurant for _, restaurant in set(promotions.subscriptions(seed)))
    wanted = sum(subscribers[restaurant] for restaurant in live.values())

    console.rule("3. The streams write it to the lake")
    for spec in LAKE_STREAMS:
        _wait_for_rows(settings, console, spec)
    found = partial(_notified, settings, live)
    wait(
        console,
        f"{wanted:,} clients are notified",
        lambda: len(found()) >= wanted,
        lambda: f"{len(found()):,} so far",
    )

    console.rule("4. Dagster materializes the marts and runs the checks")
    for window in sorted(ENRICHED_MART.versions(Lake(settings)))[-2:]:
        _materialize(settings, console, ENRICHED, window)
    _materialize(settings, console, HOURLY, f"{day:%Y-%m-%d}")
    _materialize(settings, console, REPORT, f"{now:%Y-%m-%d}")
    _run(settings, console, demo_community.JOB, None, {})
    topic = "the topic hourly_metrics has the same totals"
    wait(console, topic, lambda: demo_sales.totals(demo_sales.topic_rows(settings, day)) == expected)
    wait(console, "the half hours of the clicks", lambda: demo_clicks.same(demo_clicks.served(settings), clicks))
    checks = _checks(settings, _run(settings, console, "all_checks", None, {}))
    failed = [name for name, passed in checks if not passed]

    console.rule("5. Results")
    enriched = Counter(reader.scan(ENRICHED.uri(settings), ["event_id"])["event_id"].to_pylist())
    hours = demo_sales.mart_rows(settings, day)
    notified = _notified(settings, live)
    right = {
        f"all {APP_EVENTS:,} tracked events are in the enriched table, each once": all(
            enriched[event["event_id"]] == 1 for event in tracked
        ),
        f"every record of {', '.join(spec.topic.name for spec in LAKE_STREAMS)} arrived once": all(
            topic_account(spec, settings).exact for spec in LAKE_STREAMS
        ),
        "the day's revenue, visitors and purchases in the topic equal what was sent": (
            demo_sales.totals(demo_sales.topic_rows(settings, day)) == expected
        ),
        "the mart has the same totals": demo_sales.totals(hours) == expected,
        "views, orders and money of each item in PostgreSQL equal the clicks": (
            demo_clicks.same(demo_clicks.served(settings), clicks)
        ),
        f"{wanted:,} subscribers of live campaigns were notified, each once": (
            len(notified) == len(set(notified)) == wanted
        ),
        **demo_community.results(settings, seed),
        f"{len(checks)} checks of Dagster passed{': all but ' + ', '.join(failed) if failed else ''}": (
            bool(checks) and not failed
        ),
    }
    demo_sales.print_hours(console, day, hours)
    for name, is_right in right.items():
        console.print(f"  {'[green]✓[/]' if is_right else '[red]✗ WRONG:[/]'} {name}", highlight=False)
    url = settings.dagster_url
    for what, where in {
        "From stream to mart:": f"{url}/assets/sales/shop_events?view=lineage",
        "A stream (→ Plots):": f"{url}/assets/streams/shop_events_ingest_stream?view=overview",
        "Its switch:": f"{url}/automation",
        "The campaigns:": f"{url}/assets/promotions/notifications?view=overview",
        "A map of the zones:": f"{url}/assets/community/zones_mart?view=partitions",
        "A table:": ".venv/bin/shop-streams show promotions/campaign_report",
        "Items of the shops:": f"{settings.api_url}/",
        **({"A shop with the tag:": settings.demo_shop_url} if settings.demo_shop else {}),
    }.items():
        console.print(f"{what:20} {where}", highlight=False, soft_wrap=True)
    return all(right.values())


def _wait_for_rows(settings: Settings, console: Console, spec: StreamSpec) -> None:
    fewest = [math.inf]  # others may send, too: only fewer than ever is progress

    def arrived() -> bool:
        sums = topic_account(spec, settings).sums
        fewest[0] = min(fewest[0], sums["missing"] + sums["in_flight"])
        return sums["missing"] == sums["in_flight"] == 0

    what = f"all records of the topic {spec.topic.name} are in the lake"
    wait(console, what, arrived, lambda: f"{fewest[0]:,} to come")


def _materialize(settings: Settings, console: Console, table: Table, partition: str) -> None:
    _run(settings, console, "__ASSET_JOB", asset_key(table), {"dagster/partition": partition})


def _run(settings: Settings, console: Console, job: str, key: dg.AssetKey | None, tags: dict[str, str]) -> str:
    """Launch a run and wait for its success; returns its id."""
    client = DagsterGraphQLClient("127.0.0.1", port_number=settings.dagster_port)
    run_id = client.submit_job_execution(job, tags=tags, asset_selection=[key] if key else None)
    what = f"{key.to_user_string() if key else job} {tags.get('dagster/partition', '')}".strip()
    finished = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

    def status() -> dg.DagsterRunStatus | None:
        state = client.get_run_status(run_id)
        return state if state in finished else None

    with instance_of(settings) as instance:

        def last_event() -> str:
            newest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
            return newest[0].event_log_entry.user_message.split("\n")[0] if newest else "queued"

        if wait(console, what, status, last_event) is not dg.DagsterRunStatus.SUCCESS:
            raise ShopStreamsError(f"The run failed: {settings.dagster_url}/runs/{run_id}")
    return run_id


def _checks(settings: Settings, run_id: str) -> list[tuple[str, bool]]:
    """(asset and check, whether it passed) of the run's checks."""
    with instance_of(settings) as instance:
        events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [one.get_dagster_event().asset_check_evaluation_data for one in events]
    return [(f"{one.asset_key.to_user_string()}:{one.check_name}", one.passed) for one in found]


def _notified(settings: Settings, campaigns: Container[str]) -> list[tuple[str, str]]:
    """(campaign, client) of each notification of these campaigns in the topic."""
    values = [json.loads(record.value) for record in read_topic(settings.kafka, NOTIFICATIONS_TOPIC.name)]
    return [(one["adv_campaign_id"], one["client_id"]) for one in values if one["adv_campaign_id"] in campaigns]
