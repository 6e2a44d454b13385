"""What the rules accept goes through the whole stream: extremes, capitals."""

from datetime import UTC, datetime

from shop_streams.defs.promotions import tables
from shop_streams.defs.promotions.marts import MART
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import Computation
from shop_streams.postgres import transaction
from shop_streams.spark import open_session
from shop_streams_tests.defs.promotions.campaigns import clients_of, message, rows, send, sent, subscribe, wait_notified
from shop_streams_tests.harness import Stack, exact, wait_for


def test_the_extremes_of_a_campaign_are_taken_and_reported(stack: Stack) -> None:
    last = 253_402_300_799
    long = message(adv_campaign_datetime_start=0, adv_campaign_datetime_end=last, datetime_created=last)
    empty = message(adv_campaign_datetime_start=last - 1, adv_campaign_datetime_end=last, adv_campaign_owner="")
    long |= {"adv_campaign_content": "😀\x7f\\u0000 \n" * 1000, "adv_campaign_owner_contact": ""}
    subscribe(stack.settings.postgres, long["restaurant_id"], "a")
    subscribe(stack.settings.postgres, empty["restaurant_id"], "b")
    send(stack, long, empty)
    wait_notified(stack, long, "a")
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    [sent_row] = sent(stack.settings, long["adv_campaign_id"])
    assert sent_row["adv_campaign_content"] == long["adv_campaign_content"]
    today = datetime.now(UTC).date().isoformat()
    computation = Computation((today,), 0, stack.settings)
    report = MART.source.read(open_session(stack.settings), Lake(stack.settings), computation).collect()
    assert long["adv_campaign_id"] in {row.adv_campaign_id for row in report}


def test_capitals_make_no_other_campaign_and_no_other_restaurant(stack: Stack) -> None:
    campaign = message()
    capitals = {name: campaign[name].upper() for name in ("adv_campaign_id", "restaurant_id")}
    subscribe(stack.settings.postgres, campaign["restaurant_id"].upper(), "in capitals")
    subscribe(stack.settings.postgres, campaign["restaurant_id"], "in small letters")
    send(
        stack,
        campaign | capitals,
        campaign,
        campaign | capitals | {"datetime_created": campaign["datetime_created"] + 1},
    )
    wait_notified(stack, campaign, "in capitals", "in small letters")
    wait_for("all messages to be read", lambda: exact(STREAM, stack))
    wait_notified(stack, campaign, "in capitals", "in small letters")
    assert rows(stack.settings.postgres, capitals["adv_campaign_id"]) == []


def test_capitals_of_an_earlier_version_are_not_notified_again(stack: Stack) -> None:
    campaign = message()
    subscribe(stack.settings.postgres, campaign["restaurant_id"], "once")
    send(stack, campaign)
    wait_notified(stack, campaign, "once")
    with transaction(stack.settings.postgres) as cursor:  # as the earlier version left them
        for table in ("promotion_campaigns", "subscribers_feedback"):
            cursor.execute(
                f"update {table} set adv_campaign_id = upper(adv_campaign_id), restaurant_id = upper(restaurant_id)"
                " where adv_campaign_id = %s",
                (campaign["adv_campaign_id"],),
            )
    tables.create_tables(stack.settings.postgres)
    send(stack, campaign | {"datetime_created": campaign["datetime_created"] + 1})
    wait_for("the message to be read", lambda: exact(STREAM, stack))
    assert clients_of(rows(stack.settings.postgres, campaign["adv_campaign_id"])) == ["once"]
    assert rows(stack.settings.postgres, campaign["adv_campaign_id"].upper()) == []
