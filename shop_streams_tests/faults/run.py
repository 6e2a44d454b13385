"""Traffic, one fault after the other, the time until everything flows again, and the oracle at the end."""

import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow.compute as pc
from dagster_graphql import DagsterGraphQLClient

from shop_streams.cli.status import streams
from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.defs.domains import DOMAINS, LAKE_STREAMS
from shop_streams.defs.promotions.checks import key
from shop_streams.defs.sales.marts import MART as SALES_MART
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.spec import Mart
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.accounting import accounts
from shop_streams_tests.faults.inflict import inflict
from shop_streams_tests.faults.ledger import FIRST_SECOND, HOUR, SALES_DAYS, Ledger
from shop_streams_tests.faults.oracle import differences, expected_notifications, published_notifications
from shop_streams_tests.faults.plan import Fault
from shop_streams_tests.faults.traffic import Traffic
from shop_streams_tests.harness import Stack, wait_for

CLICK_MARTS = [mart for domain in DOMAINS if domain.name == "clickstream" for mart in domain.marts]
RECOVERY_LIMIT_SECONDS = 300.0
SETTLE_SECONDS = 300.0


@dataclass
class Report:
    """What was done, the seconds that each recovery took, and what the oracle found wrong."""

    recoveries: list[tuple[Fault, float]] = field(default_factory=list)
    tracked: int = 0
    sales: int = 0
    broken: int = 0
    clicks: int = 0
    campaigns: int = 0
    notifications: int = 0
    differences: list[str] = field(default_factory=list)


def run_faults(
    stack: Stack, seed: int, plan: Iterable[Fault], say: Callable[[str], None], go_on: Callable[[], bool]
) -> Report:
    """Inflict the faults of `plan` under traffic while `go_on()`, then compare everything with what was acknowledged."""
    report = Report()
    canaries = itertools.count()
    with Traffic(stack, seed) as traffic:
        traffic.subscribe(("canary", traffic.canary))
        recovered(stack, traffic, next(canaries))
        for fault in plan:
            if not go_on():
                break
            time.sleep(fault.calm)
            aftermath = inflict(fault, stack, traffic)
            recovered(stack, traffic, next(canaries), aftermath.over)
            took = time.monotonic() - aftermath.since
            aftermath.clean_up()
            report.recoveries.append((fault, took))
            say(f"{fault}: everything flowed again after {took:.1f} s")
    ledger = traffic.ledger
    report.tracked, report.sales, report.broken = len(ledger.tracked), len(ledger.sales), len(ledger.broken)
    report.clicks = len(ledger.clicks)
    say(
        f"{report.tracked} tracked, {report.sales} sales, {report.clicks} clicks and {report.broken} broken records acknowledged; "
        "settling"
    )
    settle(stack, ledger)
    report.campaigns = len({message["adv_campaign_id"] for message in ledger.campaigns})
    report.notifications = len(published_notifications(stack, ledger))
    last = FIRST_SECOND + 86_400 * SALES_DAYS + HOUR * next(canaries)
    report.differences = list(differences(stack, ledger, f"start_ts between {FIRST_SECOND} and {last}"))
    return report


def recovered(stack: Stack, traffic: Traffic, number: int, over: Callable[[], bool] = lambda: True) -> None:
    """Return when every stream runs, and events that were sent after this call are in both tables and in the topic."""
    settings = stack.settings
    started, seen = datetime.now(UTC), len(traffic.ledger.tracked) + 1  # the one after the one that may be under way
    clicked = len(traffic.ledger.clicks) + 1
    hour = FIRST_SECOND + 86_400 * SALES_DAYS + HOUR * number
    sale = traffic.sell(f"canary-{number}", hour, random.Random(number))
    campaign = traffic.campaign(traffic.canary)
    traffic.promote(campaign)

    def event_arrived() -> bool:
        new = (pc.field("event_date") >= started.date()) & (pc.field("event_time") >= started)
        return traffic.ledger.tracked[seen]["event_id"] in _column(EVENTS, settings, "event_id", new)

    def sale_arrived() -> bool:
        new = pc.field("event_date") == datetime.fromtimestamp(hour, UTC).date()
        return sale["item_id"] in _column(SHOP_EVENTS, settings, "item_id", new)

    def click_arrived() -> bool:
        new = pc.field("clicked_on") >= started.date()
        return traffic.ledger.clicks[clicked]["event_id"] in _column(CLICKS, settings, "event_id", new)

    # Asked one after the other, and no more once true: on two cores, asking takes from what is asked about.
    to_come: dict[str, Callable[[], bool]] = {
        "the collector": lambda: len(traffic.ledger.tracked) > seen,
        "a successor": over,
        "app_events/events": event_arrived,
        "sales/shop_events": sale_arrived,
        "the next click": lambda: len(traffic.ledger.clicks) > clicked,
        "clickstream/clicks": click_arrived,
        "hourly_metrics": lambda: str(hour).encode() in {r.key for r in read_topic(settings.kafka, "hourly_metrics")},
        "promotion_notifications": lambda: _in_kafka(stack, campaign["adv_campaign_id"]),
        "every stream to run": lambda: all(stream["state"] == "running" for stream in streams(settings).values()),
    }
    deadline = time.monotonic() + RECOVERY_LIMIT_SECONDS
    while to_come:
        traffic.check()
        name, arrived = next(iter(to_come.items()))
        problem: Exception | None = None
        try:
            if arrived():
                del to_come[name]
                continue
        except Exception as error:  # whatever is down at this moment says so in its own way
            problem = error
        if time.monotonic() > deadline:
            states = {stream: state["state"] for stream, state in streams(settings).items()}
            raise AssertionError(
                f"waited {RECOVERY_LIMIT_SECONDS:.0f} s without success for {', '.join(to_come)}; {states}"
            ) from problem
        time.sleep(1)


def _column(table: Table, settings: Settings, column: str, where: Any) -> list[Any]:
    return reader.scan(table.uri(settings), [column], where)[column].to_pylist()


def _in_kafka(stack: Stack, campaign_id: str) -> bool:
    """Whether the campaign's notifications were published, by PostgreSQL's own word."""
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(
            "select from subscribers_feedback where adv_campaign_id = %s"
            " and outbox <= (select published from promotion_topic)",
            (campaign_id,),
        )
        return bool(cursor.rowcount)


def settle(stack: Stack, ledger: Ledger) -> None:
    """Wait until nothing is in flight, and compute what live and often repaired partitions lack, as a person may at any time."""

    def arrived() -> bool:
        exact = [account for spec in LAKE_STREAMS for account in accounts(spec, stack.settings)]
        return all(account.exact and account.in_flight == 0 for account in exact)

    wait_for("every record to arrive once", arrived, SETTLE_SECONDS)

    def notified() -> bool:
        wanted, _ = expected_notifications(ledger)
        return wanted <= {key(row) for row in published_notifications(stack, ledger)}

    wait_for("every subscriber to be notified", notified, SETTLE_SECONDS)
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    for mart in (SALES_MART, ENRICHED_MART, *CLICK_MARTS):
        for partition in _stale(stack, mart):
            client.submit_job_execution(
                "__ASSET_JOB", tags={"dagster/partition": partition}, asset_selection=[asset_key(mart.table)]
            )
        wait_for(f"{mart.name} to be computed", partial(_none_stale, stack, mart), SETTLE_SECONDS)


def _none_stale(stack: Stack, mart: Mart) -> bool:
    return not _stale(stack, mart)


def _stale(stack: Stack, mart: Mart) -> list[str]:
    lake = Lake(stack.settings)
    recorded = mart.recorded(lake)
    return [key for key, version in mart.versions(lake).items() if recorded.get(key) != version]
