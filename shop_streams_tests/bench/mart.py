"""A mart partition of 100,000 events, from the request in Dagster to its materialization."""

import statistics
import time

import httpx
from dagster_graphql import DagsterGraphQLClient

from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams_tests.bench.traffic import fill, shop_event
from shop_streams_tests.harness import wait_for


def bench_mart(settings: Settings, rounds: int) -> list[str]:
    day = "2020-09-13"
    fill(settings, "shop_events", 100_000, shop_event)
    client = DagsterGraphQLClient("127.0.0.1", port_number=settings.dagster_port)

    def materialize() -> float:
        started = time.monotonic()
        run = client.submit_job_execution(
            "__ASSET_JOB", tags={"dagster/partition": day}, asset_selection=[asset_key(HOURLY)]
        )
        instance_url = f"http://127.0.0.1:{settings.dagster_port}/graphql"
        query = (
            "query($id: ID!) { runOrError(runId: $id) { ... on Run { assetMaterializations { timestamp } status } } }"
        )

        def done() -> bool:
            answer = httpx.post(instance_url, json={"query": query, "variables": {"id": run}}, trust_env=False).json()[
                "data"
            ]["runOrError"]
            if answer["status"] in ("FAILURE", "CANCELED"):
                raise SystemExit(f"the mart's run {run} ended as {answer['status']}")
            return bool(answer["assetMaterializations"])

        wait_for("the mart", done)
        return time.monotonic() - started

    wait_for("the events in the lake", lambda: Lake(settings).row_counts(SHOP_EVENTS).get(day, 0) >= 100_000, 180)
    times = [materialize() for _ in range(rounds + 2)][2:]  # two to warm up
    return ["mart partition of 100,000 events", f"{statistics.median(times):.1f} s", "", "", "10 s"]
