"""One real stack for the whole suite, and one broker alone for what needs no more."""

from collections.abc import Iterator

import pytest

from shop_streams.settings import Settings
from shop_streams_tests.broker import running_broker
from shop_streams_tests.harness import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running_stack(LEASE_SECONDS="12", SPARK_MEMORY="2g") as running:
        yield running


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_broker() as broker:
        yield broker.settings.model_copy(update={"lake_uri": str(tmp_path_factory.mktemp("lake"))})
