"""The checks before a start: the home folder, the disk, the ports, and whether services elsewhere let us in."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence

from shop_streams.errors import ShopStreamsError
from shop_streams.local.prepare import postgres_user
from shop_streams.local.private import close_home
from shop_streams.local.probes import RefusesUs, Unhealthy
from shop_streams.local.services import Service, external_probes
from shop_streams.settings import Settings
from shop_streams.streaming.elsewhere import held_elsewhere
from shop_streams.streaming.lease import Leases

FREE_BYTES_NEEDED = 1_000_000_000


def check_home(settings: Settings) -> None:
    """Create the home folder, and check that it can be written and that its disk has space."""
    home = settings.home
    try:
        for name in ("logs", "lake"):  # Spark would make the lake readable for all users
            (home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        close_home(home, traversable=postgres_user() is not None and settings.embedded["postgres"])
        probe = home / ".writable"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ShopStreamsError(
            f"The home folder {home} can't be written: {error.strerror}. Free it or set SHOP_STREAMS_HOME to another folder."
        ) from error
    free = shutil.disk_usage(home).free
    if free < FREE_BYTES_NEEDED:
        raise ShopStreamsError(
            f"The disk of {home} has only {free / 1e6:.0f} MB free; {FREE_BYTES_NEEDED / 1e6:.0f} MB are needed. "
            "Free some space or set SHOP_STREAMS_HOME to another disk."
        )


def check_database(settings: Settings) -> None:
    """Check that no other stack runs streams on this database: it would hold their leases, and both would use one Dagster.

    Raises:
        ShopStreamsError: names the other stack's home and host, and says what to do.
    """
    leases = Leases(settings.postgres)
    leases.create_table()
    for lease in leases.read().values():
        if problem := held_elsewhere(lease, settings.lease_seconds, settings.home):
            raise ShopStreamsError(f"This stack did not start: {problem}.")


def check_ports(settings: Settings, all_services: Sequence[Service]) -> None:
    """Check that each port is free, and set for one service only."""
    names = [service.port_setting for service in all_services if service.port_setting]
    if "kafka_port" in names:
        names.append("kafka_controller_port")
    ports = {name: int(getattr(settings, name)) for name in names}
    taken = [name for name, port in ports.items() if _is_taken(port)]
    twice = [name for name, port in ports.items() if list(ports.values()).count(port) > 1]
    if not taken and not twice:
        return
    problems = [f"Port {ports[name]} ({name.removesuffix('_port').replace('_', ' ')}) is taken" for name in taken]
    problems += [f"SHOP_STREAMS_{name.upper()}={ports[name]} is not the only one with this port" for name in twice]
    variables = ", ".join(f"SHOP_STREAMS_{name.upper()}" for name in dict.fromkeys(taken + twice))
    raise ShopStreamsError(f"{'; '.join(problems)}. Stop what uses them, or set {variables} to free ports.")


def check_external(settings: Settings) -> None:
    """Check that the services elsewhere let us in. Those that do not answer are waited for later."""
    for probe in external_probes(settings).values():
        try:
            probe()
        except RefusesUs as refused:
            raise ShopStreamsError(str(refused)) from refused
        except Unhealthy:
            continue


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
