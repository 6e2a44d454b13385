"""Which fault comes next."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SERVICES = ("collector", "kafka", "postgres", "spark", "dagster_daemon", "dagster_code_server")
AWAY = ("kafka", "postgres")
HANGING = ("kafka", "spark", "worker")


@dataclass(frozen=True)
class Fault:
    """`kind` names a method of inflict.py; `target` is a service, a stream, a topic or a worker of Spark; seconds of calm before it."""

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
        round_ += [("hang", target) for target in HANGING]
        round_ += [(kind, source.choice(streams)) for kind in ("kill_run", "pause_run", "delete_run")]
        round_ += [("restart", "stack"), ("silence", "collector"), ("abort", "shop_events")]
        round_ += [("fill_disk", "home")] if with_disk else []
        source.shuffle(round_)
        for kind, target in round_:
            yield Fault(kind, target, round(source.uniform(2, 8), 1))


def chosen(plan: Iterable[Fault], only: Sequence[str] | None) -> Iterator[Fault]:
    """The faults whose kind, or kind and target, is in `only`; all without it."""
    return (fault for fault in plan if not only or {fault.kind, str(fault)} & set(only))
