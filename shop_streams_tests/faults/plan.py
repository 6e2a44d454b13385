"""Which fault comes next."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

SERVICES = ("collector", "kafka", "postgres", "spark", "dagster_daemon", "dagster_code_server")
AWAY = ("kafka", "postgres")


@dataclass(frozen=True)
class Fault:
    """`kind` is kill, away, kill_run, pause_run or fill_disk; `target` a service or a stream; seconds of calm before it."""

    kind: str
    target: str
    calm: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


def faults(seed: int, streams: tuple[str, ...], with_disk: bool) -> Iterator[Fault]:
    """Endless rounds; each holds every fault once, in an order of its own."""
    source = random.Random(seed)
    while True:
        round_ = [("kill", service) for service in SERVICES]
        round_ += [("away", service) for service in AWAY]
        round_ += [("kill_run", source.choice(streams)), ("pause_run", source.choice(streams))]
        round_ += [("fill_disk", "home")] if with_disk else []
        source.shuffle(round_)
        for kind, target in round_:
            yield Fault(kind, target, round(source.uniform(2, 8), 1))
