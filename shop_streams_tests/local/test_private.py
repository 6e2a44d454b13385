"""A home is its owner's alone, and may lie in any folder."""

import os
import shlex
import stat
from pathlib import Path

import psycopg2
import pytest
from supervisor.options import ServerOptions

from shop_streams.cli.status import without_secret
from shop_streams.errors import ShopStreamsError
from shop_streams.local.prepare import property_value
from shop_streams.local.private import close_home, write_private
from shop_streams.local.services import Service
from shop_streams.local.supervision import configuration, write_configuration
from shop_streams.settings import Settings


@pytest.fixture(autouse=True)
def usual_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_was_never_open(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    write_private(path, "new")
    assert path.read_text() == "new" and mode(path) == 0o600 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("traversable", "expected"), [(False, 0o700), (True, 0o711)])
def test_an_older_home_is_closed(tmp_path: Path, traversable: bool, expected: int) -> None:
    (tmp_path / "logs").mkdir(mode=0o755)
    (tmp_path / "stack.env").write_text("")
    (tmp_path / "holiday.jpg").write_text("somebody else's")
    close_home(tmp_path, traversable)
    assert (mode(tmp_path), mode(tmp_path / "logs"), mode(tmp_path / "stack.env")) == (expected, 0o700, 0o600)
    assert mode(tmp_path / "holiday.jpg") == 0o644


def test_a_shared_folder_is_no_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ShopStreamsError, match="shared by all users"):
        close_home(tmp_path, False)
    assert mode(tmp_path) == 0o777 | stat.S_ISVTX or mode(tmp_path) == 0o1777


@pytest.mark.parametrize("name", ["plain", "100% done", "a #1 ; b", "it's", "tést 雪", "%(here)s", "x" * 200])
def test_supervisord_understands_any_home(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    (home / "logs").mkdir(parents=True)
    settings = Settings(home=home)
    command = ["/bin/echo", str(home / "kafka.properties"), "-Dx=%d", 'a "b" c']
    write_configuration(settings, [Service("kafka", command, lambda: None, "", environment={"A": "1%2,'3'4"})])

    options = ServerOptions()
    options.realize(["-c", str(configuration(settings))])
    program = options.process_group_configs[0].process_configs[0]
    assert shlex.split(program.command) == command
    assert program.stdout_logfile == str(home / "logs" / "kafka.log")
    assert options.logfile == str(home / "logs" / "supervisord.log")
    assert program.environment == {"A": "1%2,'3'4"}
    assert mode(configuration(settings)) == 0o600


@pytest.mark.parametrize("name", ["plain", "100% done", "a:b=c #!", "back\\slash", "tést 雪 😀"])
def test_java_reads_the_path_of_any_home(name: str) -> None:
    """Read back as `java.util.Properties` does: Latin-1, a backslash takes the next character or four hex digits."""
    written = property_value(f"/{name}").encode("ascii").decode()  # Kafka reads Latin-1, Spark UTF-8
    units, at = b"", 0
    while at < len(written):
        if written[at] == "\\" and written[at + 1] == "u":
            units, at = units + bytes.fromhex(written[at + 2 : at + 6]), at + 6
        elif written[at] == "\\":
            units, at = units + written[at + 1].encode("utf-16-be"), at + 2
        else:
            units, at = units + written[at].encode("utf-16-be"), at + 1
    assert units.decode("utf-16-be") == f"/{name}"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://shop:s3cret@db:5432/shop", "postgresql://shop@db:5432/shop"),
        ("postgresql://shop:p@ss@db/shop?password=s3cret&sslmode=require", "postgresql://shop@db/shop?password=***&sslmode=require"),
        ("host=db password=s3cret user=shop", "host=db password=*** user=shop"),
        ("sc://spark:15002/;use_ssl=true;token=s3cret", "sc://spark:15002/;use_ssl=true;token=***"),
        ("postgresql://postgres@127.0.0.1:5432/postgres?passfile=%2Fx", "postgresql://postgres@127.0.0.1:5432/postgres?passfile=%2Fx"),
    ],
)  # fmt: skip
def test_status_shows_no_secret(address: str, shown: str) -> None:
    assert without_secret(address) == shown


def test_the_dsn_finds_its_password_for_the_driver_and_for_dagster(tmp_path: Path) -> None:
    from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
    from sqlalchemy.engine import make_url

    settings = Settings(home=tmp_path / "a b%#?&é")
    wanted = str(settings.postgres_passfile)
    assert psycopg2.extensions.parse_dsn(settings.postgres)["passfile"] == wanted
    _, options = PGDialect_psycopg2().create_connect_args(make_url(settings.postgres))
    assert options["passfile"] == wanted
