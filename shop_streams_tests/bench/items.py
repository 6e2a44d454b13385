"""A half hour of a million clicks in 100,000 sessions, from the lake's rows to PostgreSQL, and the comparison of versions."""

import statistics
import time
from dataclasses import replace
from uuid import uuid4

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from shop_streams.defs.clickstream.marts import MART, ClickSource
from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.defs.clickstream.serving import SERVED
from shop_streams.lake.reader import Lake
from shop_streams.marts.compute import compute
from shop_streams.marts.serve import PostgresCopy
from shop_streams.marts.spec import Computation
from shop_streams.marts.version import rows_of
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect
from shop_streams_tests.bench.traffic import console

KEY = "2026-03-10-12:00"
ITEMS = 10_000
# Sessions begin from 11:30 to 12:30 and have 10 clicks within half an hour, so half of the clicks are in the half hour.
CLICKS_OF_AN_HOUR = """
with clicks as (
    select session, epoch_ms(timestamp '2026-03-10 11:30:00') + session * 18 as began, began + click * (hash(session) % 180000) as moment, click
      from range(?) s(session), range(10) c(click))
select make_timestamptz((moment * 1000)::bigint) as clicked_at, case when click = 9 then 'buy_button_click' else 'pageView' end as event_type,
       'shop.example' as shop, (hash(session * 10 + click) % ?)::text as item_id, '0:' || lower(to_base(began::bigint, 36)) || ':' || md5(session::text) as session_id,
       case when click = 9 then 9.5::decimal(27, 9) end as order_price, case when click = 9 then 1::int end as order_amount,
       false as corrupt, md5('p' || session) || ' ' || session_id || ' ' || click as identity, date '2026-03-10' as clicked_on,
       (session % 2)::int as kafka_partition, (session * 10 + click)::bigint as kafka_offset
  from clicks where moment < epoch_ms(timestamp '2026-03-10 12:30:00') order by moment
"""


def made(sessions: int) -> pa.Table:
    """The clicks of an hour."""
    with duckdb.connect() as database:
        database.execute("set timezone = 'UTC'")
        found: pa.Table = database.sql(CLICKS_OF_AN_HOUR, params=[sessions, ITEMS]).to_arrow_table()
        return found


def bench_items(settings: Settings, rounds: int, sessions: int = 200_000) -> list[list[str]]:
    """Seconds to compute the half hour, and to find by its versions that it is due."""
    name, lake, spark = f"bench_{uuid4().hex}", Lake(settings), SparkConnect()
    table = replace(CLICKS, path=f"clickstream/{name}_clicks")
    mart = replace(
        MART,
        table=replace(MART.table, path=f"clickstream/{name}"),
        source=ClickSource(table, mart=name),
        serve=PostgresCopy(name, tuple(replace(one, name=f"{name}_{one.name}") for one in SERVED.tables)),
        totals=lambda _lake, _key: {},
    )
    table.create(spark.spark_session, settings)
    clicks = made(sessions)
    write_deltalake(table.uri(settings), clicks, mode="append", schema_mode="merge")
    snapshot = mart.source.snapshot(lake)
    started = time.monotonic()
    versions = mart.versions(lake, snapshot)
    compared = time.monotonic() - started
    times = []
    for number in range(rounds + 1):
        started = time.monotonic()
        list(compute(mart, lake, spark.spark_session, Computation((KEY,), snapshot, settings), versions))
        times.append(time.monotonic() - started)
        console.print(f"  items round {number}: {times[-1]:.1f} s", highlight=False)
    spark.spark_session.stop()
    counted = f"{rows_of(versions[KEY]):,} clicks"
    return [
        [f"half hour of {counted}, {ITEMS:,} items", f"{statistics.median(times[1:]):.1f} s", "", "", "15 s"],
        [f"versions of {len(clicks):,} clicks", f"{compared:.1f} s", "", "", ""],
    ]
