"""The command `forget-user`: its words and its errors."""

import os
import subprocess
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import DeadlockDetected

from shop_streams.cli.forget import checked, chosen, require_runs_known, words_of
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams_tests.harness import COMMAND


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SHOP_STREAMS_HOME": str(home), "SHOP_STREAMS_POSTGRES_PORT": "1"}
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, env=environment, timeout=60)


def test_domains_are_named_or_all() -> None:
    assert [one.name for one in chosen(["sales", "promotions", "sales"])] == ["sales", "promotions"]
    assert len(chosen(None)) == len(chosen([])) >= 4
    with pytest.raises(ShopStreamsError, match=r"There is no domain .sale.\. There are: app_events, sales"):
        chosen(["sales", "sale"])


@pytest.mark.parametrize("person", ["", "  ", "x" * 1001, "a\0b"])
def test_what_is_no_id_is_refused(person: str) -> None:
    with pytest.raises(ShopStreamsError, match="An ID has 1 to 1000 characters"):
        checked(person)


def test_an_id_may_be_negative_and_a_wrong_option_is_no_id(tmp_path: Path) -> None:
    assert checked("-5") == "-5"
    for words in (("-5",), ("-5", "--dry-run"), ("--dry-run", "-17")):
        assert "PostgreSQL does not answer" in run("forget-user", *words, home=tmp_path).stderr
    assert "There is no option --dry-rum" in run("forget-user", "--dry-rum", home=tmp_path).stderr
    assert run("forget-user", "5", "--dry-rum", home=tmp_path).returncode == 2


def test_wrong_words_and_a_database_that_is_away_are_one_line(tmp_path: Path) -> None:
    for words in (("forget-user", "17", "--domain", "sale"), ("forget-user", " "), ("forget-user", "17", "--yes")):
        answer = run(*words, home=tmp_path)
        assert (answer.returncode, answer.stdout) == (1, "") and answer.stderr.startswith("error: ")
        assert "Traceback" not in answer.stderr
    assert "PostgreSQL does not answer" in answer.stderr and "Run the command again" in answer.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DeadlockDetected("deadlock detected\nDETAIL:  Process 1 waits"), "PostgreSQL has rolled a step back: deadlock detected. Run"),
        (psycopg2.OperationalError("connection refused\n"), "PostgreSQL does not answer: connection refused. Run"),
    ],
)  # fmt: skip
def test_a_deadlock_is_no_database_that_is_away(error: psycopg2.OperationalError, words: str) -> None:
    assert words_of(error).startswith(words) and "Run the command again" in words_of(error)


def test_without_dagsters_configuration_nothing_is_removed_from_a_database_elsewhere(tmp_path: Path) -> None:
    require_runs_known(Settings(home=tmp_path))  # its own database: no run was ever started
    elsewhere = Settings(home=tmp_path, postgres_dsn="postgresql://shop@db.internal:5432/shop")
    with pytest.raises(ShopStreamsError, match="where Dagster's code server runs"):
        require_runs_known(elsewhere)
    elsewhere.dagster_home.mkdir()
    (elsewhere.dagster_home / "dagster.yaml").touch()
    require_runs_known(elsewhere)
