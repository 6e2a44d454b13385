"""Who sends a click: the address behind trusted proxies, and how many clicks one address may send."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from shop_streams.addresses import listed

ADDRESS_CHARACTERS = 64  # an IPv6 address with a zone and a port
KNOWN_ADDRESSES = 4_096  # read once
LIMITED_ADDRESSES = 65_536  # about 12 MB
NAMELESS_PROXY = (
    "a request of %s has X-Forwarded-For, and SHOP_STREAMS_CLICK_PROXIES does not name this proxy: clicks through it have no "
    "rate limit. Add its address to the setting."
)
_log = logging.getLogger("shop_streams.collector")


class Peer(NamedTuple):
    """An address, and what it is limited by: itself, of IPv6 the first 64 bits, since a customer has so many addresses."""

    address: str
    limited_by: str
    is_loopback: bool
    is_proxy: bool


class Peers:
    """Finds the true sender of a request. `proxies` are addresses and networks, separated by commas."""

    def __init__(self, proxies: str) -> None:
        self._networks = [ipaddress.ip_network(one) for one in listed(proxies)]
        self._read = lru_cache(KNOWN_ADDRESSES)(self._read_address)
        self._has_warned = False

    def of(self, scope: Any) -> tuple[Peer, bool]:
        """The nearest sender that is no trusted proxy, and whether it is this machine without a proxy between.

        X-Forwarded-For is read from its right end, where the nearest proxy has written, and only as far as proxies are trusted.
        """
        peer = self._read(scope.client.rpartition(":")[0].strip("[]")) or _UNKNOWN
        if not peer.is_proxy:
            if peer.is_loopback and not self._has_warned and scope.headers.get("x-forwarded-for") is not None:
                self._has_warned = True
                _log.warning(NAMELESS_PROXY, peer.address)
            return peer, peer.is_loopback
        hops = [one for value in scope.headers.get_all("x-forwarded-for") for one in value.split(",")]
        for hop in reversed(hops):
            found = self._read(_without_port(hop.strip())) if len(hop) <= ADDRESS_CHARACTERS else None
            if found is None:
                break  # not an address: what comes after it is the sender
            peer = found
            if not found.is_proxy:
                break
        return peer, peer.is_loopback and not hops

    def _read_address(self, text: str) -> Peer | None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        limited_by = str(address) if address.version == 4 else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        trusted = any(address in network for network in self._networks if network.version == address.version)
        return Peer(str(address), limited_by, address.is_loopback, trusted)


_UNKNOWN = Peer("unknown", "unknown", is_loopback=False, is_proxy=False)


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


class RateLimit:
    """A token bucket for each address: `rate` a second, `burst` at once. It forgets the address that was quiet the longest.

    An address costs one number, the time when its bucket is full again. The library `limits` has no token bucket, keeps every
    address of a window, and took 11 to 28 microseconds for a click where this takes less than 1.
    """

    def __init__(
        self, rate: int, burst: int, addresses: int = LIMITED_ADDRESSES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / rate
        self._window = (burst - 0.5) * self._interval  # half a token more than needed, for rounding
        self._addresses = addresses
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether the address may send one more now."""
        now = self._clock()
        full = max(self._full.get(address, now), now)
        allowed = full - now <= self._window
        self._full[address] = full + self._interval if allowed else full
        self._full.move_to_end(address)
        if len(self._full) > self._addresses:
            self._full.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._full)
