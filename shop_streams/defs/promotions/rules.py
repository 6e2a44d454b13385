"""The rules of campaign messages. An accepted message fits into PostgreSQL's columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from shop_streams.rules import Rules, Times, Uuid

LAST_SECOND = 253_402_300_799  # the end of the year 9999: milliseconds in place of seconds are larger
TEXTS = ("adv_campaign_content", "adv_campaign_owner", "adv_campaign_owner_contact")
TIMES = ("adv_campaign_datetime_start", "adv_campaign_datetime_end", "datetime_created")
IDS = ("restaurant_id", "adv_campaign_id")

Seconds = Annotated[int, msgspec.Meta(ge=0, le=LAST_SECOND)]


class Campaign(msgspec.Struct):
    """A record of the topic `promotions`."""

    restaurant_id: Uuid
    adv_campaign_id: Uuid
    adv_campaign_content: str
    adv_campaign_owner: str
    adv_campaign_owner_contact: str
    adv_campaign_datetime_start: Seconds
    adv_campaign_datetime_end: Seconds
    datetime_created: Seconds


def check_text(text: str, _times: Times) -> str | None:
    """PostgreSQL's texts can't hold a NUL character."""
    return "holds a NUL character" if "\0" in text else None


def check_campaign(campaign: Campaign) -> tuple[str, str] | None:
    """A campaign must end after its start."""
    if campaign.adv_campaign_datetime_end > campaign.adv_campaign_datetime_start:
        return None
    return "adv_campaign_datetime_end", "is not after adv_campaign_datetime_start"


CAMPAIGN = Rules(
    Campaign, dict.fromkeys(TEXTS, check_text), check_campaign, IDS,
    whole_reads=("adv_campaign_datetime_start", "adv_campaign_datetime_end"),
)  # fmt: skip
