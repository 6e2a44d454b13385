"""Start all services of a home."""

from __future__ import annotations

import os
import subprocess
import sys

from rich.console import Console

from shop_streams.environment import PREFIX, process_environment
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka_settings import KAFKA_SECRETS
from shop_streams.local.down import down as down
from shop_streams.local.down import stop_strays, stopping_on_failure
from shop_streams.local.health import START_SECONDS, wait_healthy
from shop_streams.local.jars import require_jars, require_java
from shop_streams.local.preflight import check_database, check_external, check_home, check_ports
from shop_streams.local.prepare import runtime_folder
from shop_streams.local.private import OTHERS, write_private
from shop_streams.local.services import external_probes, of_stores, services
from shop_streams.local.stopping import cancel_left_over_runs, instance_of
from shop_streams.local.supervision import configuration, connect, is_up, supervisor_process, write_configuration
from shop_streams.settings import Settings
from shop_streams.streaming.patience import wait_until_it_answers
from shop_streams.streaming.rest import RestRequest
from shop_streams.terminal import speaker


def up(settings: Settings, console: Console) -> None:
    """Start every service, in two waves, and return once each is healthy.

    If the stack is up, start only the services that have stopped.

    Raises:
        ShopStreamsError: Java or the jars are missing, a port is taken, the home can't be written, or a
            service did not become healthy; nothing is left running then.
    """
    require_java()
    require_jars(settings)
    check_home(settings)
    all_services = services(settings)
    probes = {service.name: service.probe for service in all_services} | external_probes(settings)
    if is_up(settings):
        if changed := changed_settings(settings):
            console.print(
                f"The stack runs with other settings: {', '.join(changed)}. `shop-streams down` and `up` take the new ones.",
                style="yellow", highlight=False, soft_wrap=True,
            )  # fmt: skip
        start_stopped(settings)
        wait_healthy(settings, probes, console)
        return
    stop_strays(settings)
    check_ports(settings, all_services)
    check_external(settings)
    before = os.umask(OTHERS)
    try:
        for service in all_services:
            service.prepare()
    finally:
        os.umask(before)
    make_runtime_folder(settings)
    write_configuration(settings, all_services)
    write_private(settings.home / "stack.env", stack_env(settings))
    with stopping_on_failure(settings, speaker(console)):
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration(settings))],
            check=True, env=process_environment(settings),
        )  # fmt: skip
        client = connect(settings)
        first = {service.name for service in all_services if not service.needs_store}
        for name in sorted(first):
            client.startProcess(name, False)
        stores = of_stores(probes)
        wait_healthy(settings, stores, console)
        check_database(settings)
        prepare_stores(settings)
        cancel_left_over_runs(settings)
        for service in all_services:
            if service.needs_store:
                client.startProcess(service.name, False)
        wait_healthy(settings, {name: probe for name, probe in probes.items() if name not in stores}, console)


def changed_settings(settings: Settings) -> list[str]:
    """The names of the settings that differ from those with which the running stack was started; secrets are settings too."""
    supervisor = supervisor_process(settings)
    started = supervisor.environ() if supervisor else {}  # stack.env has no secrets
    now = settings.environment()
    return sorted(name for name in started.keys() & now.keys() if started[name] != now[name])


def start_stopped(settings: Settings) -> None:
    """Start the services that a killed `down` has stopped, and let the streams run again."""
    client = connect(settings)
    for info in client.getAllProcessInfo():
        if info["statename"] in ("STOPPED", "EXITED", "FATAL"):
            client.startProcess(info["name"], False)
    wait_until_it_answers(RestRequest.of(settings).clear, START_SECONDS)


def make_runtime_folder(settings: Settings) -> None:
    """Make the sockets' folder; one that another user made under this name is refused."""
    folder = runtime_folder(settings)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise ShopStreamsError(f"{folder} belongs to another user; delete it and try again.")
    folder.chmod(0o700)


def stack_env(settings: Settings) -> str:
    """The settings as python-dotenv reads them: quoted, since a path may have spaces, quotes and number signs.

    Without the secrets of a Kafka elsewhere: other shells need them too, or the files that have them.

    Raises:
        ShopStreamsError: a value has `${`, which python-dotenv replaces even in quotes: other shells would read another value.
    """
    left_out = {f"{PREFIX}{name.upper()}" for name in KAFKA_SECRETS}
    kept = {key: value for key, value in settings.environment().items() if key not in left_out}
    for key, value in kept.items():
        if "${" in value:
            raise ShopStreamsError(
                f"{key} has the characters ${{, which a file of settings can't hold. In an address, write %24%7B."
            )
    values = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in kept.items()}
    return "".join(f"{key}='{value}'\n" for key, value in values.items())


def prepare_stores(settings: Settings) -> None:
    """Create topics and tables, and Dagster's tables before three of its processes create them at once."""
    from shop_streams.beats import ProcessBeats
    from shop_streams.defs.domains import DOMAINS, TOPICS
    from shop_streams.local.api_role import prepare_api_role
    from shop_streams.local.database_check import require_usable
    from shop_streams.marts.failures import MartFailures
    from shop_streams.streaming.batch_failures import BatchFailures
    from shop_streams.streaming.lease import Leases
    from shop_streams.topics import create_topics

    require_usable(settings)
    prepare_api_role(settings)
    create_topics(settings, TOPICS)
    Leases(settings.postgres).create_table()
    ProcessBeats(settings.postgres).create_table()
    BatchFailures(settings.postgres).create_tables()
    MartFailures(settings.postgres, "").create_table()
    RestRequest.of(settings).create_table()
    RestRequest.of(settings).clear()
    if settings.embedded["postgres"]:
        for domain in DOMAINS:  # an external database has the shop's tables
            domain.create_shop_tables(settings.postgres)
    with instance_of(settings):
        pass  # Dagster has created its tables
