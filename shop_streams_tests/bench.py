"""`make bench`: each speed as a ratio against a baseline measured in the same run, medians of several rounds.

    make bench                      all of it
    make bench ARGS="ingest"        one part: collector, ingest, aggregate, start or mart
    make bench ARGS="--rounds 5"

Machines differ and drift, so absolute figures are only shown beside their baseline's.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from confluent_kafka import Producer
from dagster_graphql import DagsterGraphQLClient
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.progress import track
from rich.table import Table

from shop_streams.defs.app_events.schema import EVENTS, RECORD_FIELDS
from shop_streams.defs.app_events.transforms import judge, rows
from shop_streams.defs.sales import aggregate
from shop_streams.defs.sales.schema import HOURLY
from shop_streams.lake.asset import asset_key
from shop_streams.lake.table import Table as LakeTable
from shop_streams.local import stack
from shop_streams.settings import Settings, get_settings
from shop_streams.spark import open_session
from shop_streams.streaming.managed import start_query
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.conftest import PORTS, free_ports, wait_for

PARTS = ("start", "collector", "ingest", "aggregate", "mart")
DAY = 1_600_000_000_000 // 86_400_000 * 86_400_000
console = Console()


def fill(settings: Settings, topic: str, count: int, make: Callable[[random.Random], str]) -> None:
    """Write `count` records, the same for everybody, as fast as Kafka takes them."""
    create_topics(settings, (Topic(topic, ""),))
    source = random.Random(7)
    config = {
        "bootstrap.servers": settings.kafka,
        "linger.ms": 50,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
    }
    producer = Producer(config)
    for number in track(range(count), f"filling {topic}", console=console):
        while True:
            try:
                producer.produce(topic, make(source))
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush()


def app_event(source: random.Random) -> str:
    moment = f"2026-01-{source.randint(1, 3):02d}T{source.randint(0, 23):02d}:{source.randint(0, 59):02d}:07.123456Z"
    return (
        f'{{"event_id":"{uuid.UUID(int=source.getrandbits(128))}","event_time":"{moment}","user_id":{source.randint(1, 6)},'
        f'"app_name":"web_shop","event_category":"navigation","event_action":"scroll","event_value":{source.randint(0, 60)}}}'
    )


def shop_event(source: random.Random) -> str:
    uid = "null" if source.random() < 0.15 else f'"visitor-{source.randint(1, 2000)}"'
    return (
        f'{{"event_type":"{"buy" if source.random() < 0.06 else "view"}","category":"toys","item_id":"item-{source.randint(1, 300)}",'
        f'"item_price":{source.randint(1, 9999)},"uid":{uid},"timestamp":{DAY + source.randrange(86_400_000)}}}'
    )


def seconds_of(query: Any) -> None:
    while query.isActive:
        query.awaitTermination(1)
    if query.exception():
        raise query.exception()


def timed(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def kafka(spark: SparkSession, settings: Settings, topic: str) -> Any:
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    return source.option("subscribe", topic).option("startingOffsets", "earliest").load()


def compare(
    name: str, count: int, ours: Callable[[], None], bare: Callable[[], None], rounds: int, target: float
) -> list[str]:
    """Both in turn, once unmeasured and then `rounds` times; the median of the ratios of the rates, pair by pair."""
    pairs = []
    for number in range(rounds + 1):
        slow, fast = timed(ours), timed(bare)
        console.print(
            f"  {name} round {number}: ours {count / slow:,.0f}/s, bare {count / fast:,.0f}/s", highlight=False
        )
        if number:
            pairs.append((fast / slow, count / slow, count / fast))
    ratio, mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [name, f"{mine:,.0f}/s", f"bare Spark {theirs:,.0f}/s", f"ratio {ratio:.2f}", f"ratio {target}"]


def bench_ingest(settings: Settings, count: int, rounds: int) -> list[str]:
    spark = open_session(settings)
    topic = Topic("bench_events", "")
    fill(settings, topic.name, count, app_event)

    def ours() -> None:
        run = uuid.uuid4().hex
        table = LakeTable(f"bench/{run}", EVENTS.columns, EVENTS.partition_by, "")
        sink = LakeSink(table, "bench", judge, rows)
        spec = StreamSpec(f"bench_{run}", "bench", topic, sink, asset_key(table), "", lambda _settings: 1)
        seconds_of(start_query(spec, settings, spark, availableNow=True))

    def bare() -> None:
        folder = f"{settings.lake}/bench/{uuid.uuid4().hex}"
        parsed = (
            kafka(spark, settings, topic.name)
            .select(F.from_json(F.col("value").cast("string"), RECORD_FIELDS).alias("e"))
            .select("e.*")
        )
        writer = parsed.writeStream.format("delta").option("checkpointLocation", f"{folder}-checkpoint")
        seconds_of(writer.option("path", folder).trigger(availableNow=True).start())

    return compare("ingest", count, ours, bare, rounds, 0.8)


def bench_aggregate(settings: Settings, count: int, rounds: int) -> list[str]:
    spark = open_session(settings)
    topic = "bench_shop_events"
    fill(settings, topic, count, shop_event)

    def out() -> tuple[str, str]:
        name = f"bench-{uuid.uuid4().hex}"
        create_topics(settings, (Topic(name, ""),))
        return name, f"{settings.checkpoints}/{name}"

    def ours() -> None:
        name, checkpoint = out()
        seconds_of(aggregate.start(spark, settings.kafka, topic, name, checkpoint, "hour", True))

    def bare() -> None:
        name, checkpoint = out()
        fields = "event_type string, category string, item_id string, item_price int, uid string, timestamp bigint"
        events = (
            kafka(spark, settings, topic)
            .select(F.from_json(F.col("value").cast("string"), fields).alias("e"))
            .select("e.*")
        )
        is_buy = F.col("event_type") == "buy"
        hours = events.groupBy(F.window(F.timestamp_millis("timestamp"), "1 hour")).agg(
            F.sum(F.when(is_buy, F.col("item_price"))), F.count("uid"), F.count(F.when(is_buy, 1))
        )
        writer = hours.select(F.to_json(F.struct("*")).alias("value")).writeStream.format("kafka").outputMode("update")
        writer = writer.option("kafka.bootstrap.servers", settings.kafka).option("topic", name)
        seconds_of(writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start())

    return compare("aggregate", count, ours, bare, rounds, 0.8)


def wrk(url: str, settings: Settings, body: bytes, folder: Path) -> tuple[float, float]:
    """Requests a second and the 99th percentile in ms, 64 connections for 10 s."""
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method="POST"\nwrk.body=[[{body.decode()}]]\nwrk.headers["Content-Type"]="application/json"\n'
        f'wrk.headers["X-Token"]="{settings.track_token}"\n'
        'done=function(s,l,r) io.write(string.format("RESULT %f %f %d\\n", s.requests/s.duration*1e6, l:percentile(99)/1000, s.errors.status)) end\n'
    )
    answer = subprocess.run(
        ["wrk", "-t1", "-c64", "-d10s", "-s", str(script), url], capture_output=True, text=True, check=True
    )
    rate, p99, errors = next(line for line in answer.stdout.splitlines() if line.startswith("RESULT")).split()[1:]
    if int(errors):
        raise SystemExit(f"{errors} requests were not answered with 200")
    return float(rate), float(p99)


async def _echo(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def bench_collector(settings: Settings, folder: Path, rounds: int) -> list[list[str]]:
    if shutil.which("wrk") is None:
        return [["collector", "not measured: wrk is missing (Debian: apt-get install wrk)", "", "", ""]]
    port = free_ports(1)[0]
    code = f"from shop_streams.serve import serve; from shop_streams_tests.bench import _echo; serve(_echo, '127.0.0.1', {port})"
    echo = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    one = json.dumps(
        {"user_id": 1, "app_name": "web", "event_category": "nav", "event_action": "scroll", "event_value": 5}
    )
    many = json.dumps([json.loads(one)] * 500)
    url = f"http://127.0.0.1:{settings.collector_port}/track"
    try:
        wait_for("the echo server", lambda: asyncio.run(_answers(port)))
        singles = [
            (wrk(url, settings, one.encode(), folder), wrk(f"http://127.0.0.1:{port}/", settings, one.encode(), folder))
            for _ in range(rounds)
        ]
        arrays = [wrk(url, settings, many.encode(), folder) for _ in range(rounds)]
    finally:
        echo.terminate()
        echo.wait()
    rate = statistics.median(ours[0] for ours, _ in singles)
    p99 = statistics.median(ours[1] for ours, _ in singles)
    bare = statistics.median(echo_rate for _, (echo_rate, _) in singles)
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in singles)
    events = 500 * statistics.median(array for array, _ in arrays)
    return [
        [
            "POST /track",
            f"{rate:,.0f}/s, p99 {p99:.0f} ms",
            f"bare echo {bare:,.0f}/s",
            f"ratio {ratio:.2f}",
            "8,000/s, p99 60 ms",
        ],
        ["POST /track, arrays of 500", f"{events:,.0f} events/s", "", "", "60,000 events/s"],
    ]


async def _answers(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


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

    wait_for("the events in the lake", lambda: _rows(settings, day) >= 100_000, 180)
    times = [materialize() for _ in range(rounds + 2)][2:]  # two to warm up
    return ["mart partition of 100,000 events", f"{statistics.median(times):.1f} s", "", "", "10 s"]


def _rows(settings: Settings, day: str) -> int:
    from shop_streams.defs.sales.assets import source_rows_by_day

    return source_rows_by_day(settings).get(day, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    parts = options.parts or PARTS
    home = Path(tempfile.mkdtemp(prefix="shop-streams-bench-"))
    os.environ["SHOP_STREAMS_HOME"] = str(home)
    for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        os.environ[f"SHOP_STREAMS_{name.upper()}_PORT"] = str(port)
    os.environ["SHOP_STREAMS_INGEST_INTERVAL_SECONDS"] = "5"
    settings = get_settings()
    results = []
    try:
        first = timed(lambda: stack.up(settings, console))
        if "start" in parts:
            results.append(["make up, first start", f"{first:.0f} s", "", "", "60 s"])
        if "collector" in parts:
            results += bench_collector(settings, home, options.rounds)
        if "mart" in parts:
            results.append(bench_mart(settings, options.rounds))
        if "ingest" in parts:
            results.append(bench_ingest(settings, options.events, options.rounds))
        if "aggregate" in parts:
            results.append(bench_aggregate(settings, options.events, options.rounds))
    finally:
        stack.down(settings)
        shutil.rmtree(home, ignore_errors=True)
    table = Table("what", "measured (median)", "baseline of the same run", "ratio", "aim")
    for row in results:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
