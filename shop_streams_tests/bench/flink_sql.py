"""The hourly aggregation in PyFlink SQL, topic to topic.

A program of its own (see worker.py) for a Python environment that has apache-flink, and nothing of this project. Flink's
batch mode: each hour is sent once, as `aggregate --until-caught-up` sends it.
"""

import json
import sys
import time

from pyflink.table import EnvironmentSettings, TableEnvironment

SOURCE = """
create temporary table events (
    event_type string, category string, item_id string, item_price bigint, uid string, `timestamp` bigint
) with (
    'connector' = 'kafka', 'properties.bootstrap.servers' = '{servers}', 'topic' = '{topic}',
    'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
    'format' = 'json', 'json.ignore-parse-errors' = 'true'
)"""
SINK = """
create temporary table hours (
    start_ts bigint, end_ts bigint, revenue bigint, visitors bigint, purchases bigint, aov double,
    primary key (start_ts) not enforced
) with (
    'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = '{servers}', 'topic' = '{out}',
    'key.format' = 'json', 'value.format' = 'json'
)"""
AGGREGATION = """
insert into hours
select start_ts, start_ts + 3600, revenue, visitors, purchases, cast(revenue as double) / nullif(purchases, 0)
from (
    select `timestamp` / 3600000 * 3600 as start_ts,
           coalesce(sum(item_price) filter (where event_type = 'buy'), 0) as revenue,
           count(uid) as visitors,
           count(*) filter (where event_type = 'buy') as purchases
    from events where event_type in ('view', 'buy') group by `timestamp` / 3600000 * 3600
)"""


def main() -> None:
    environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    environment.get_config().set("pipeline.jars", sys.argv[1])
    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        environment.execute_sql(SOURCE.format(**job))
        environment.execute_sql(SINK.format(**job))
        environment.execute_sql(AGGREGATION).wait()
        print(f"SECONDS {time.monotonic() - started}", flush=True)
        environment.execute_sql("drop temporary table events")
        environment.execute_sql("drop temporary table hours")


if __name__ == "__main__":
    main()
