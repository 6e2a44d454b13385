"""A Kafka broker alone, out of our own jars, in a folder of its own on free ports."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shop_streams.local import prepare, probes
from shop_streams.local.services import services
from shop_streams.settings import Settings
from shop_streams_tests.harness import free_ports, wait_for


@contextmanager
def broker(home: Path | None = None, port: int | None = None) -> Iterator[Settings]:
    """A running broker, and the settings of its home. Another broker on the same `port` can follow once it has ended."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-broker-") as folder:
        free, controller = free_ports(2)
        settings = Settings(home=home or Path(folder), kafka_port=port or free, kafka_controller_port=controller)
        settings.home.mkdir(parents=True, exist_ok=True)
        prepare.prepare_kafka(settings)
        (kafka,) = [service for service in services(settings) if service.name == "kafka"]
        process = subprocess.Popen(kafka.command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            wait_for("the broker", lambda: answers(settings), 90)
            yield settings
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def answers(settings: Settings) -> bool:
    """Whether the broker of this home answers."""
    try:
        probes.probe_kafka(settings)
    except probes.Unhealthy:
        return False
    return True
