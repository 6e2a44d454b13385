"""One broker alone for all tests of this folder, and one collector."""

from collections.abc import Iterator

import pytest

from shop_streams.defs.app_events.schema import EVENTS_TOPIC as EVENTS
from shop_streams.defs.clickstream.schema import CLICKS_TOPIC as CLICKS
from shop_streams.defs.sales.schema import SHOP_EVENTS_TOPIC as SHOP_EVENTS
from shop_streams_tests.broker import Broker, CollectorProcess, running_broker, running_collector


@pytest.fixture(scope="package")
def broker() -> Iterator[Broker]:
    with running_broker(topics=(EVENTS, SHOP_EVENTS, CLICKS)) as running:
        yield running


@pytest.fixture(scope="package")
def collector(broker: Broker) -> Iterator[CollectorProcess]:
    with running_collector(broker) as running:
        yield running
