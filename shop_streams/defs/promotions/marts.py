"""The campaigns' report: a day's notifications, how soon they came, and what clients said to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg2
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from shop_streams.defs.promotions.partitions import days
from shop_streams.defs.promotions.schema import CAMPAIGNS, REPORT
from shop_streams.defs.promotions.streams import FEEDBACK
from shop_streams.lake import reader
from shop_streams.marts.spec import Mart
from shop_streams.postgres import transaction
from shop_streams.settings import Settings, get_settings

COUNTS = """
select d.day, d.notified + coalesce(f.given, 0)
  from promotion_days d
  left join (select (to_timestamp(trigger_datetime_created) at time zone 'UTC')::date as day, count(*) as given
               from subscribers_feedback where feedback is not null group by 1) f using (day)
"""
REPORT_ROWS = """
select adv_campaign_id, max(restaurant_id), count(*),
       percentile_cont(0.5) within group (order by seconds), percentile_cont(0.95) within group (order by seconds),
       count(feedback)
  from (select *, (extract(epoch from made_at)
                   - greatest(extract(epoch from message_at), adv_campaign_datetime_start))::float8 as seconds
          from subscribers_feedback where trigger_datetime_created >= %s and trigger_datetime_created < %s) of_the_day
 group by adv_campaign_id
"""


def notifications_by_day(settings: Settings, version: int | None = None) -> dict[str, int]:
    """Notifications and feedback of each day, as they are now: the report's source has no versions."""
    del version
    try:
        with transaction(settings.postgres) as cursor:
            cursor.execute(COUNTS)
            return {str(day): count for day, count in cursor.fetchall()}
    except psycopg2.errors.UndefinedTable:  # the stream has never run
        return {}


def report_rows(campaigns: DataFrame, key: str) -> DataFrame:
    """The report of one day. PostgreSQL has the notifications, and computes it; `campaigns` only knows the session."""
    start = datetime.combine(date.fromisoformat(key), datetime.min.time(), UTC)
    with transaction(get_settings().postgres) as cursor:
        cursor.execute(REPORT_ROWS, (start.timestamp(), (start + timedelta(days=1)).timestamp()))
        rows = [(*row, start.date()) for row in cursor.fetchall()]
    columns = [column for column in REPORT.columns if column.name != "source_rows"]
    return campaigns.sparkSession.createDataFrame(rows, ", ".join(f"{column.name} {column.type}" for column in columns))


def day_totals(settings: Settings, key: str) -> dict[str, float]:
    """The day's numbers, which plot themselves over the partitions in the UI; seconds as in the report's columns."""
    names = ["clients_notified", "feedback_given", "seconds_to_notification_p50", "seconds_to_notification_p95"]
    report = reader.scan(REPORT.uri(settings), names, pc.field("report_date") == date.fromisoformat(key))
    if not report.num_rows:
        return {}
    return {
        "clients_notified": pc.sum(report["clients_notified"]).as_py(),
        "feedback_given": pc.sum(report["feedback_given"]).as_py(),
        "median_campaign_p50_seconds": pc.quantile(report["seconds_to_notification_p50"], 0.5)[0].as_py(),
        "slowest_campaign_p95_seconds": pc.max(report["seconds_to_notification_p95"]).as_py(),
    }


MART = Mart(
    table=REPORT,
    source=CAMPAIGNS,
    partitions=days,
    rows=report_rows,
    source_rows=notifications_by_day,
    totals=day_totals,
    reads=(FEEDBACK,),
)
