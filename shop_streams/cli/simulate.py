"""`shop-streams simulate`: traffic of one domain, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings, get_settings


def simulate(
    domain: Annotated[str, typer.Argument(help="app_events, clickstream, community, promotions or sales")],
    count: Annotated[int, typer.Option("--count", min=1, help="events to send")],
    seed: Annotated[int, typer.Option("--seed", help="the same seed sends the same events")] = 1,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.01, help="events a second; default: as fast as possible")
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            "--start",
            help="sales and clickstream: beginning of the simulated day, default yesterday, 00:00; promotions: default now; "
            "community: the first of up to 40 days, which end yesterday at the latest; UTC. "
            "Clicks have this time as the browser's; it counts with SHOP_STREAMS_CLICK_EVENT_TIME=client",
        ),
    ] = None,
) -> None:
    """Send deterministic traffic of one domain through its real endpoint: the collector, Kafka, or community's landing folder."""
    from shop_streams.simulate import DOMAINS, community
    from shop_streams.simulate.sales import yesterday

    if domain not in DOMAINS:
        raise ShopStreamsError(f"There is no traffic for {domain!r}; choose one of {', '.join(DOMAINS)}.")
    if start and domain == "app_events":
        raise ShopStreamsError(
            "--start has no effect on app_events: the collector gives each of these events its time. Leave it out."
        )
    settings = get_settings()
    if domain != "community":  # its folder is in this home, or is named
        require_own_endpoint(domain, settings)
    defaults = {"promotions": lambda: datetime.now(UTC), "community": community.first_day}
    begin = start.replace(tzinfo=UTC) if start else defaults.get(domain, yesterday)()
    acknowledged = DOMAINS[domain](settings, count, seed, begin, rate)
    if domain == "community":
        Console().print(f"{acknowledged} rows written to {settings.community_raw}.", soft_wrap=True)
    else:
        Console().print(f"{acknowledged} events acknowledged by Kafka.")


def require_own_endpoint(domain: str, settings: Settings) -> None:
    """Check that the traffic goes to this home's stack, or to an address that is set.

    Raises:
        ShopStreamsError: this home's stack is not up, and another home's stack may answer at the default address.
    """
    from shop_streams.local.supervision import is_up

    if domain == "promotions":
        address, names = str(settings.kafka), ("kafka_bootstrap_servers", "kafka_port")
    else:
        address, names = settings.collector_url, ("collector_port", "bind_host")
    if settings.model_fields_set.isdisjoint(names) and not is_up(settings):
        raise ShopStreamsError(
            f"The stack of {settings.home} is not up. If something answers at {address}, it may belong to another one. "
            f"Start it with `shop-streams up`, set SHOP_STREAMS_HOME to the other home, "
            f"or name its address: SHOP_STREAMS_{names[0].upper()}."
        )
