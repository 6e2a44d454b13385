"""No record vanishes and no stream dies of one: each bad record becomes a dead letter with its reason."""

import json
from typing import Any

import pytest
from pyspark.sql import SparkSession

from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.promotions.streams import STREAM as PROMOTIONS
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.spark import open_session
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.drafts import Attempt, validate_with
from shop_streams_tests.defs.app_events.events import REFUSED as EVENTS_REFUSED
from shop_streams_tests.defs.promotions.campaigns import REFUSED as CAMPAIGNS_REFUSED
from shop_streams_tests.defs.promotions.campaigns import message
from shop_streams_tests.defs.sales.events import GOOD_BUT_UNUSUAL, SHOP
from shop_streams_tests.defs.sales.events import REFUSED as SALES_REFUSED
from shop_streams_tests.harness import Stack, exact, wait_for
from shop_streams_tests.streaming.letters import find

REFUSED: list[tuple[Any, Any]] = [(SALES, SALES_REFUSED), (APP_EVENTS, EVENTS_REFUSED), (PROMOTIONS, CAMPAIGNS_REFUSED)]


@pytest.mark.parametrize(("spec", "cases"), REFUSED, ids=["sales", "app_events", "promotions"])
def test_every_bad_record_is_a_dead_letter_with_its_reason(
    stack: Stack, spec: Any, cases: list[tuple[bytes | None, str]]
) -> None:
    before = len(find(stack.settings, spec.domain))
    stack.produce(spec.topic.name, [value for value, _ in cases])
    wait_for("the dead letters", lambda: len(find(stack.settings, spec.domain)) >= before + len(cases))
    letters = [(letter["raw"], letter["reason"]) for letter in find(stack.settings, spec.domain)]
    for value, reason in cases:
        assert any(raw == value and reason in words for raw, words in letters), (value, reason)
    wait_for("the accounting to be exact", lambda: exact(spec, stack))


def test_unusual_but_good_records_are_rows(stack: Stack) -> None:
    before = len(find(stack.settings, "sales"))
    rows = sum(account.rows for account in accounts(SALES, stack.settings))
    stack.produce("shop_events", list(GOOD_BUT_UNUSUAL))
    wait_for(
        "the rows",
        lambda: sum(account.rows for account in accounts(SALES, stack.settings)) >= rows + len(GOOD_BUT_UNUSUAL),
    )
    assert len(find(stack.settings, "sales")) == before


def test_a_value_of_10_megabytes_is_refused_without_harm(stack: Stack) -> None:
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry("max.message.bytes", "20000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "shop_events", incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": str(stack.settings.kafka)})
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    stack.produce("shop_events", [json.dumps(SHOP | {"item_id": "x" * 10_000_000}).encode()])
    wait_for(
        "its dead letter",
        lambda: any("larger than" in letter["reason"] for letter in find(stack.settings, "sales")),
    )
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))


@pytest.fixture
def session(stack: Stack) -> SparkSession:
    return open_session(stack.settings)


def test_the_verdict_before_sending_is_the_streams_own(stack: Stack, session: SparkSession) -> None:
    validate = validate_with(LAKE_STREAMS, stack.settings, lambda: session)
    for spec, cases in REFUSED:
        values = [Attempt(spec.topic.name, value) for value, _ in cases]
        verdicts = validate(spec.domain, values)
        assert all(verdict and reason in verdict for verdict, (_, reason) in zip(verdicts, cases, strict=True)), (
            verdicts
        )
    assert validate("sales", [Attempt("shop_events", value) for value in GOOD_BUT_UNUSUAL]) == [None] * len(
        GOOD_BUT_UNUSUAL
    )
    assert validate("promotions", [Attempt("promotions", json.dumps(message()).encode())]) == [None]
