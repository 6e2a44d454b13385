"""A setting that is misspelt or of a wrong type is one line that says what to write instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from shop_streams.environment import process_environment
from shop_streams.errors import ShopStreamsError
from shop_streams.local.stack import changed_settings, stack_env
from shop_streams.settings import Settings, get_settings
from shop_streams.streaming.rest import RestRequest
from shop_streams_tests.harness import COMMAND


@pytest.fixture(autouse=True)
def folder(fresh_shell: Path) -> Path:
    return fresh_shell


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SHOP_STREAMS_COLECTOR_PORT", "1", "SHOP_STREAMS_COLECTOR_PORT is no setting; did you mean SHOP_STREAMS_COLLECTOR_PORT?"),
        ("SHOP_STREAMS_POSTGRES_DNS", "x", "did you mean SHOP_STREAMS_POSTGRES_DSN?"),
        ("SHOP_STREAMS_QQQ", "x", "SHOP_STREAMS_QQQ is no setting. Correct or unset it"),
        ("SHOP_STREAMS_KAFKA_PORT", "many", "SHOP_STREAMS_KAFKA_PORT='many': input should be a valid integer"),
        ("SHOP_STREAMS_KAFKA_PORT", "70000", "SHOP_STREAMS_KAFKA_PORT='70000': input should be less than or equal to 65535"),
        ("SHOP_STREAMS_LEASE_SECONDS", "soon", "SHOP_STREAMS_LEASE_SECONDS='soon': input should be a valid number"),
        ("SHOP_STREAMS_STALL_SECONDS", "15", "SHOP_STREAMS_STALL_SECONDS='15': must be more than SHOP_STREAMS_LEASE_SECONDS"),
        ("SHOP_STREAMS_SALES_WINDOW_ANCHOR", "day", "input should be 'hour' or 'first_event'"),
        ("SHOP_STREAMS_ITEM_PATH", "/katalog/item", "SHOP_STREAMS_ITEM_PATH='/katalog/item': it must begin and end with a slash"),
        ("SHOP_STREAMS_ITEM_PATH", "katalog/", "it must begin and end with a slash"),
        ("SHOP_STREAMS_ITEM_PATH", "/item?id=/", "can't have spaces, `?` or `#`"),
        ("SHOP_STREAMS_ITEM_PATH", "", "it must begin and end with a slash"),
        ("SHOP_STREAMS_HOME", "/tmp/a,b", "can't have ','; choose another folder"),
        ("SHOP_STREAMS_HOME", "/tmp/100%25", "can't have '%25'; choose another folder"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_wrong_setting_is_one_line(
    name: str, value: str, said: str, place: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == ".env":
        monkeypatch.delenv(name, raising=False)
        (folder / ".env").write_text(f"{name}={value}\n")
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(ShopStreamsError) as problem:
        get_settings()
    text = str(problem.value)
    assert said in text and "Correct or unset it" in text and "\n" not in text


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_STREAMS_KAFKA_PORT", "a")
    monkeypatch.setenv("SHOP_STREAMS_API_PORT", "b")
    with pytest.raises(ShopStreamsError, match=r"SHOP_STREAMS_KAFKA_PORT='a'.*SHOP_STREAMS_API_PORT='b'"):
        get_settings()


def test_the_command_says_it_without_a_traceback() -> None:
    environment = os.environ | {"SHOP_STREAMS_TRACK_TOKN": "secret"}
    answer = subprocess.run([COMMAND, "status"], capture_output=True, text=True, env=environment, timeout=60)
    assert answer.returncode == 1 and answer.stderr.startswith("error: SHOP_STREAMS_TRACK_TOKN is no setting")
    assert answer.stderr.count("\n") == 1 and "secret" not in answer.stderr


def test_a_running_stack_of_another_version_may_have_other_settings(folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home" / "stack.env").write_text("SHOP_STREAMS_GONE=1\nSHOP_STREAMS_API_PORT='4711'\n")
    assert get_settings().api_port == 4711


def test_a_stack_leaves_its_settings_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "it's 100% #1 tést"
    home.mkdir()
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(home))
    settings = Settings(home=home, track_token="a'b\\c # $d", lake_uri=f"{home}/lake")
    (home / "stack.env").write_text(stack_env(settings))
    assert get_settings() == settings


def test_a_value_that_a_file_would_change_is_refused(folder: Path) -> None:
    settings = Settings(home=folder, postgres_dsn="postgresql://u:pass${HOME}@db/shop")
    with pytest.raises(
        ShopStreamsError, match=r"SHOP_STREAMS_POSTGRES_DSN has the characters \$\{.*write %24%7B"
    ) as refused:
        stack_env(settings)
    assert "pass" not in str(refused.value)
    (folder / "stack.env").write_text(
        stack_env(settings.model_copy(update={"postgres_dsn": "postgresql://u:p$a%24%7B@db/shop"}))
    )
    assert dotenv_values(folder / "stack.env")["SHOP_STREAMS_POSTGRES_DSN"] == "postgresql://u:p$a%24%7B@db/shop"


def test_a_second_start_names_the_settings_that_differ(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "home"
    home.mkdir()
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(home))
    monkeypatch.setenv("SHOP_STREAMS_TRACK_TOKEN", "a # 'b'")
    monkeypatch.setenv("SHOP_STREAMS_KAFKA_BOOTSTRAP_SERVERS", "kafka:9093")
    for name, value in {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "shop", "SASL_PASSWORD": "first"}.items():
        monkeypatch.setenv(f"SHOP_STREAMS_KAFKA_{name}", value)
    started = get_settings()
    waits = "import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waits, "supervisor.supervisord"],
        stdin=subprocess.PIPE,
        env=process_environment(started) | {"SHOP_STREAMS_OF_ANOTHER_VERSION": "1"},
    ) as supervisor:
        (home / "supervisord.pid").write_text(str(supervisor.pid))
        (home / "stack.env").write_text(stack_env(started))
        assert changed_settings(get_settings()) == []
        monkeypatch.setenv("SHOP_STREAMS_RUN_HOURS", "5")
        monkeypatch.setenv("SHOP_STREAMS_API_PORT", "4711")
        monkeypatch.setenv("SHOP_STREAMS_KAFKA_SASL_PASSWORD", "second")
        differ = changed_settings(get_settings())
        supervisor.communicate()
    assert differ == [f"SHOP_STREAMS_{name}" for name in ("API_PORT", "KAFKA_SASL_PASSWORD", "RUN_HOURS")]
    assert changed_settings(get_settings()) == []  # nothing runs


def test_a_database_elsewhere_keeps_its_password_and_ours_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setenv("PGPASSWORD", "of another database")
    monkeypatch.setenv("SHOP_STREAMS_POSTGRES_DSN", "postgresql://shop@db/shop")
    get_settings()
    assert os.environ["PGPASSWORD"] and os.environ["PGTZ"] == os.environ["TZ"] == "UTC"
    monkeypatch.delenv("SHOP_STREAMS_POSTGRES_DSN")
    get_settings()
    assert "PGPASSWORD" not in os.environ


def test_an_empty_home_is_the_default_and_not_this_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_STREAMS_HOME", "")
    assert get_settings().home == (folder / ".shop_streams").resolve()


def test_a_lake_in_a_folder_is_a_plain_path_however_it_is_written(folder: Path) -> None:
    assert Settings(lake_uri="lake/").lake == str((folder / "lake").resolve())
    assert Settings(lake_uri="~/lake").lake == str(Path("~/lake").expanduser().resolve())
    assert Settings(lake_uri="file:///srv/the%20lake").lake == "/srv/the lake"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HOME", "/srv/[work]", "can't have '[' ']'"),
        ("LAKE_URI", "/srv/a|b", "can't have '|'"),
        ("LAKE_URI", "hdfs://name/lake", "object stores are not supported"),
        ("LAKE_URI", "s3a://bucket/lake", "object stores are not supported"),
        ("LAKE_URI", "S3://bucket/lake", "object stores are not supported"),
        ("LAKE_URI", "abfss+ssl://bucket/lake", "object stores are not supported"),
        ("SPARK_MEMORY", "3gigs", "such as 512m or 3g"),
        ("KAFKA_MEMORY", "0g", "such as 512m or 3g"),
        ("SPARK_REMOTE", "http://spark:15002", "must be sc://host:port"),
        ("LAKE_URI", "file:/srv/lake", "only a folder of this machine"),
        ("LAKE_URI", "file://localhost/srv", "only a folder of this machine"),
        ("LAKE_URI", "/srv/100%41", "can't have '%41'"),
        ("POSTGRES_DSN", "host=db dbname=shop", "must be postgresql://"),
        ("POSTGRES_DSN", "postgresql://shop@one,two/shop", "with one host"),
    ],
)
def test_what_only_half_of_the_parts_would_understand_is_refused(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SHOP_STREAMS_{name}", value)
    with pytest.raises(ShopStreamsError) as error:
        get_settings()
    assert said in str(error.value)


def test_a_database_address_of_the_older_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_STREAMS_POSTGRES_DSN", "postgres://shop:a%2Cb@db:6432/shop?options=-csearch_path%3Dshop")
    assert get_settings().postgres == "postgresql://shop:a%2Cb@db:6432/shop?options=-csearch_path%3Dshop"


@pytest.mark.parametrize(
    ("bind", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("192.168.7.5", "192.168.7.5"), ("fe80::1", "[fe80::1]")],
)
def test_services_are_asked_where_they_listen(bind: str, asked: str) -> None:
    assert Settings(bind_host=bind).local_host == asked


def test_a_home_has_one_id_whatever_the_machine_is_called(folder: Path) -> None:
    settings = Settings(home=folder / "home")
    assert RestRequest.of(settings) == RestRequest.of(settings) != RestRequest.of(Settings(home=folder / "other"))
