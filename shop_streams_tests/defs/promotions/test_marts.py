"""The campaigns' report."""

from datetime import UTC, datetime
from statistics import median

import pytest

from shop_streams.defs.promotions.marts import MART, day_totals
from shop_streams.defs.promotions.schema import REPORT
from shop_streams.lake import reader
from shop_streams.lake.reader import Lake
from shop_streams.postgres import transaction
from shop_streams_tests.defs.promotions.campaigns import Row, message, rows, send, subscribe, wait_notified
from shop_streams_tests.harness import Stack, wait_for


def test_the_report_says_how_many_how_soon_and_what_they_said(stack: Stack) -> None:
    campaign = message()
    clients = [f"client {number}" for number in range(9)]
    subscribe(stack.settings.postgres, campaign["restaurant_id"], *clients)
    send(stack, campaign)
    wait_notified(stack, campaign, *clients)
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(
            "update subscribers_feedback set feedback = 'thanks' where adv_campaign_id = %s and client_id < 'client 4'",
            (campaign["adv_campaign_id"],),
        )
    found = rows(stack.settings.postgres, campaign["adv_campaign_id"])
    day = str(datetime.fromtimestamp(found[0]["trigger_datetime_created"], UTC).date())

    def report() -> list[Row]:
        table = reader.scan(REPORT.uri(stack.settings), [column.name for column in REPORT.columns])
        mine = [row for row in table.to_pylist() if row["adv_campaign_id"] == campaign["adv_campaign_id"]]
        return mine if mine and mine[0]["feedback_given"] == 4 else []

    (row,) = wait_for("the mart to follow the feedback", report)
    assert (row["clients_notified"], row["restaurant_id"], str(row["report_date"])) == (
        9,
        campaign["restaurant_id"],
        day,
    )
    seconds = [(one["made_at"] - one["message_at"]).total_seconds() for one in found]
    assert row["seconds_to_notification_p50"] == pytest.approx(median(seconds), abs=1e-3)
    assert median(seconds) <= row["seconds_to_notification_p95"] <= max(seconds) + 1e-3
    totals = day_totals(Lake(stack.settings), day)
    assert totals["clients_notified"] >= 9 and totals["feedback_given"] >= 4
    assert totals["slowest_campaign_p95_seconds"] >= row["seconds_to_notification_p95"]
    lake = Lake(stack.settings)
    wait_for("the mart to come to rest", lambda: MART.versions(lake) == MART.recorded(lake))
