"""The report on campaigns: a day's notifications, how soon they were made, and how many clients gave feedback."""

from __future__ import annotations

import pyarrow.compute as pc

from shop_streams.defs.promotions.partitions import days
from shop_streams.defs.promotions.schema import CAMPAIGNS, REPORT
from shop_streams.defs.promotions.streams import FEEDBACK
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.sources import PostgresSource
from shop_streams.marts.spec import Mart

# Notifications and feedback are only added, except that expired notifications are deleted (`taken_back`) before they
# are sent.
VERSIONS = """
select d.day, d.notified + coalesce(f.given, 0), d.taken_back
  from promotion_days d
  left join (select (to_timestamp(trigger_datetime_created) at time zone 'UTC')::date as day, count(*) as given
               from subscribers_feedback where feedback is not null group by 1) f using (day)
"""
REPORT_ROWS = """
select adv_campaign_id, max(restaurant_id), count(*),
       percentile_cont(0.5) within group (order by seconds), percentile_cont(0.95) within group (order by seconds),
       count(feedback), %(key)s::date
  from (select *, (extract(epoch from made_at)
                   - greatest(extract(epoch from message_at), adv_campaign_datetime_start))::float8 as seconds
          from subscribers_feedback
         where trigger_datetime_created >= extract(epoch from %(key)s::timestamp at time zone 'UTC')::int8
           and trigger_datetime_created < extract(epoch from %(key)s::timestamp at time zone 'UTC')::int8 + 86400) of_the_day
 group by adv_campaign_id
"""


def day_totals(lake: Lake, key: str) -> dict[str, float]:
    """The day's totals, which the UI plots over the partitions; seconds as in the report's columns."""
    names = ["clients_notified", "feedback_given", "seconds_to_notification_p50", "seconds_to_notification_p95"]
    report = lake.scan(REPORT, names, keys=[key])
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
    source=PostgresSource(
        deps=(asset_key(CAMPAIGNS), FEEDBACK),
        versions_sql=VERSIONS,
        rows_sql=REPORT_ROWS,
        columns=REPORT.columns[:-1],  # all but `source_rows`
    ),
    partitions=days,
    totals=day_totals,
)
