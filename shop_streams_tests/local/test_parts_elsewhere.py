"""`status` where systemd or containers run the parts: this home has no supervisor, and all stores are elsewhere."""

from pathlib import Path

from shop_streams.local.health import service_states
from shop_streams.settings import Settings
from shop_streams_tests.harness import Stack, free_ports, wait_for

STORES = ("kafka", "postgres", "spark")


def test_a_part_that_does_not_answer_here_is_unknown_and_the_others_are_healthy(stack: Stack, tmp_path: Path) -> None:
    """The stores and the daemon's beats can be asked from anywhere."""
    ours = stack.settings
    (away,) = free_ports(1)
    settings = Settings(
        home=tmp_path,
        kafka_bootstrap_servers=str(ours.kafka),
        postgres_dsn=ours.postgres,
        spark_remote=ours.spark_with_token,
        collector_port=ours.collector_port,
        api_port=away,
        dagster_port=ours.dagster_port,
    )
    wait_for("the daemon's beat", lambda: service_states(settings)["dagster_daemon"]["state"] == "healthy")
    found = service_states(settings)
    assert {name for name, one in found.items() if one["state"] == "healthy"} == {
        *STORES,
        "collector",
        "dagster_webserver",
        "dagster_daemon",
    }
    assert {name for name, one in found.items() if one["state"] == "unknown"} == {"api", "dagster_code_server"}
    assert str(away) in found["api"]["reason"]


def test_a_stopped_embedded_stack_is_stopped_whoever_uses_its_ports(stack: Stack, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, collector_port=stack.settings.collector_port)
    assert {one["state"] for one in service_states(settings).values()} == {"stopped"}
