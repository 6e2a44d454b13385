"""The token of the collector: which tokens it accepts in its settings, and how it compares them."""

from __future__ import annotations

import hmac
import ipaddress

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings

SHORTEST_TOKEN = 16
EXAMPLE = "change-me"  # as in deploy/environment.example


def require_token(settings: Settings) -> None:
    """Refuse to serve with a token that is public or easy to guess.

    Raises:
        ShopStreamsError: the token is empty, short, an example's or not ASCII, or the public default on an address that others reach.
    """
    token = settings.track_token
    new = "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'."
    if len(token) < SHORTEST_TOKEN:
        raise ShopStreamsError(
            f"SHOP_STREAMS_TRACK_TOKEN has {len(token)} characters; {SHORTEST_TOKEN} are needed. {new}"
        )
    if EXAMPLE in token.lower():
        raise ShopStreamsError(f"SHOP_STREAMS_TRACK_TOKEN is an example's, which everybody knows. {new}")
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ShopStreamsError(f"SHOP_STREAMS_TRACK_TOKEN must be printable ASCII, as HTTP headers are. {new}")
    if token == Settings.model_fields["track_token"].default and not is_loopback(settings.bind_host):
        raise ShopStreamsError(
            f"SHOP_STREAMS_TRACK_TOKEN is the public default, and SHOP_STREAMS_BIND_HOST={settings.bind_host} is an "
            f"address that others reach. Set a token of your own. {new}"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_token(given: str | None, token: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest((given or "").encode("utf-8", "surrogatepass"), token)
