"""`aggregate` against PyFlink SQL: the same hours from the same topic, both warm, on the same broker in the same run."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from shop_streams.kafka import read_topic
from shop_streams.local.jars import require_java, spark_home
from shop_streams.settings import REPOSITORY, Settings
from shop_streams_tests.bench.streams import AGGREGATED, new_topic, our_aggregation, seconds_of
from shop_streams_tests.bench.traffic import console, fill, shop_event
from shop_streams_tests.bench.worker import worker

FLINK = "apache-flink==2.3.0"
CONNECTOR = ("org.apache.flink", "flink-sql-connector-kafka", "5.0.0-2.2")
FOLDER = REPOSITORY / ".bench"


def python() -> Path:
    """The Python of Flink's own environment, which is made when it is missing (about 850 MB)."""
    venv = FOLDER / "flink-venv"
    path = venv / "bin" / "python"
    stamp = venv / f".{FLINK}"
    if not stamp.exists():
        with console.status(f"installing {FLINK}, once"):
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            subprocess.run([str(path), "-m", "pip", "install", "--quiet", FLINK], check=True)
        stamp.touch()
    return path


def connector() -> Path:
    """Flink's Kafka connector with all that it needs in one jar, from Maven Central by the Ivy inside of pyspark."""
    _, name, version = CONNECTOR
    jar = FOLDER / "flink-jars" / f"{name}-{version}.jar"
    if not jar.exists():
        command = [
            require_java(), "-cp", f"{spark_home()}/jars/*", "org.apache.ivy.Main", "-dependency", *CONNECTOR, "-confs", "default",
            "-cache", str(FOLDER / "ivy-cache"), "-retrieve", f"{jar.parent}/[artifact]-[revision].[ext]", "-warn",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, text=True)
    return jar


def hours(settings: Settings, topic: str) -> dict[int, tuple[int | None, ...]]:
    """The last record of each hour in the topic: revenue, visitors, purchases, and the average order in thousandths."""
    values = [json.loads(record.value) for record in read_topic(settings.kafka, topic)]
    return {
        value["start_ts"]: (
            value["revenue"], value["visitors"], value["purchases"], value["aov"] and round(float(value["aov"]) * 1000),
        )
        for value in values
    }  # fmt: skip


def bench_flink(spark: SparkSession, settings: Settings, count: int, rounds: int) -> list[str]:
    fill(settings, AGGREGATED, count, shop_event)
    pairs = []
    log = settings.home / "logs" / "flink.log"
    with worker(str(python()), "flink_sql.py", log, f"file://{connector()}") as flink:
        for number in range(rounds + 2):  # two to warm up
            ours, theirs = new_topic(settings), new_topic(settings)
            started = time.monotonic()
            seconds_of(lambda name=ours: our_aggregation(spark, settings, name))  # type: ignore[misc]
            mine = time.monotonic() - started
            other = flink.seconds_of(servers=str(settings.kafka), topic=AGGREGATED, out=theirs)
            console.print(f"  flink round {number}: ours {mine:.1f} s, PyFlink SQL {other:.1f} s", highlight=False)
            if hours(settings, ours) != hours(settings, theirs):
                raise SystemExit("PyFlink's hours differ from ours: this compares nothing")
            pairs.append((mine, other))
    mine, other = (statistics.median(column) for column in zip(*pairs[2:], strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs[2:])
    return [
        f"aggregate, {count:,} events",
        f"{mine:.1f} s",
        f"PyFlink SQL {other:.1f} s",
        f"{ratio:.2f} x its time",
        "1.25 x",
    ]
