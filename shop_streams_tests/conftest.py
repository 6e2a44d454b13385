"""One real stack for the whole suite."""

from collections.abc import Iterator

import pytest

from shop_streams_tests.harness import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running_stack(LEASE_SECONDS="12", SPARK_MEMORY="2g") as running:
        yield running
