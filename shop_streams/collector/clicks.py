"""What is recorded of a click: which clicks are dropped, and a click's record in Kafka."""

from __future__ import annotations

from urllib.parse import unquote

from shop_streams.addresses import listed
from shop_streams.avro import encoder
from shop_streams.collector.divolte import Click, Dropped
from shop_streams.defs.clickstream.rules import page_address
from shop_streams.defs.clickstream.schema import CLICK_SCHEMA, MAX_ITEM_ID, MAX_SHOP
from shop_streams.settings import Settings

PAST_MILLISECONDS = 7 * 86_400_000  # the client's clock is believed so far from ours
FUTURE_MILLISECONDS = 5 * 60_000
_encode = encoder(CLICK_SCHEMA)

Headers = list[tuple[str, bytes]]


class ClickRules:
    """What settings say about clicks. Every method is a pure function of its arguments."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(listed(settings.click_hosts))
        self._item_path = settings.item_path
        self._by_client = settings.click_event_time == "client"
        self._keep_addresses = settings.click_keep_addresses

    def check(self, click: Click) -> None:
        """Check the page's address; a click without one concerns no shop's item, and passes.

        Raises:
            Dropped: `host` or `item_id`.
        """
        location = click.location
        if location is None or (not self._hosts and len(location) <= min(MAX_ITEM_ID, MAX_SHOP)):
            return  # nothing in it can be too long
        shop, path = page_address(location)
        if (self._hosts and shop not in self._hosts) or (shop is not None and len(shop) > MAX_SHOP):
            raise Dropped("host")
        if self._has_long_item_id(path):
            raise Dropped("item_id")

    def _has_long_item_id(self, path: str) -> bool:
        if len(path) <= MAX_ITEM_ID:
            return False
        while "//" in path:
            path = path.replace("//", "/")
        item = path[len(self._item_path) :].partition("/")[0] if path.startswith(self._item_path) else ""
        return len(unquote(item)) > MAX_ITEM_ID

    def record(self, click: Click, received: int, address: str) -> tuple[bytes, bytes, Headers]:
        """Key, value and headers of the click's record, received at this time (epoch milliseconds) from this address.

        Headers are UTF-8 text; an absent one means: unknown. Times are epoch milliseconds in decimal digits, booleans `true` or
        `false`, `parameters` JSON, `viewport` and `screen` like `1280x800`.
        """
        plausible = -PAST_MILLISECONDS <= click.client_time - received <= FUTURE_MILLISECONDS
        value = _encode(
            {
                "timestamp": click.client_time if self._by_client and plausible else received,
                "eventType": click.event_type,
                "location": click.location,
                "sessionId": click.session_id,
                "price": click.price,
                "amount": click.amount,
            }
        )
        headers: Headers = [
            ("event_id", click.event_id.encode()),
            ("received_at", b"%d" % received),
            ("client_timestamp", b"%d" % click.client_time),
            ("is_new_party", b"true" if click.is_new_party else b"false"),
            ("is_first_in_session", b"true" if click.is_first_in_session else b"false"),
            ("corrupt", b"true" if click.corrupt else b"false"),
        ]
        for name in ("page_view_id", "referer", "viewport", "screen", "pixel_ratio"):
            text = getattr(click, name)
            if text is not None:
                headers.append((name, text.encode()))
        if click.parameters is not None:
            headers.append(("parameters", click.parameters))
        if self._keep_addresses:
            headers.append(("address", address.encode()))
        return click.party_id.encode(), value, headers
