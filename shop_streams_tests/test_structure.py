"""Arrows of imports run one way, and each room keeps to itself: read from the imports of the whole package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE = "shop_streams"

# Each line imports from itself only within one room (a folder or a module), and from every line above it.
LAYERS = (
    "errors plain",
    "addresses cluster encoding environment serve",
    "kafka_settings",
    "settings rules terminal",
    "avro kafka postgres spark web",
    "kafka_access",
    "kafka_send",
    "topics beats",
    "runs",
    "lake",
    "streaming",
    "marts",
    "domain",
    "defs",
    "definitions collector simulate",
    "local",
    "cli api",
)
ENGINES = ("lake", "streaming", "marts")
RULES_AND_SCHEMA_ALONE = ("collector", "simulate")  # of a domain
WORKER_FILES = (
    "schema",
    "transforms",
    "rules",
    "sink",
    "reading",
)  # of a domain: Spark's workers load them, within 10 s
CLIENTS = {
    "AdminClient": "kafka", "Producer": "kafka", "Consumer": "kafka", "psycopg2.connect": "postgres",
    "LazyPySparkResource": "spark", "SparkSession.builder": "defs.sales.aggregate",  # plain spark-submit runs it too
}  # fmt: skip
MAX_LINES = 250


@dataclass(frozen=True)
class Import:
    """`source` imports `target`, modules of the package without its name: at once, when it is called, or for types."""

    source: str
    target: str
    when: str

    def __str__(self) -> str:
        return f"{self.source} imports {self.target} ({self.when})"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package; "" is the package itself."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def _imports(node: ast.AST, when: str = "at once") -> Iterator[tuple[str, str]]:
    """(what, when) of every import; `from a import b` gives a.b, which may be a module or a name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "imports are absolute"
            yield from ((f"{child.module}.{alias.name}", when) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(child, "for types")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, "when called" if when == "at once" else when)
        else:
            yield from _imports(child, when)


@cache
def imports() -> list[Import]:
    """The imports inside of the package."""
    found = set()
    for source, tree in modules().items():
        for name, when in _imports(tree):
            inside = name.removeprefix(f"{PACKAGE}.")
            if inside != name:
                found.add(Import(source, inside if inside in modules() else inside.rpartition(".")[0], when))
    return sorted(found, key=str)


def room(module: str) -> str:
    return module.partition(".")[0]


def domain(module: str) -> str | None:
    """The domain that a module belongs to; None of what is no domain's."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 and parts[0] == "defs" and parts[1] != "platform" else None


def worker_modules() -> list[str]:
    named = [name for name in modules() if domain(name) and name.rpartition(".")[2] in WORKER_FILES]
    return ["streaming.sinks", "streaming.records", *named]


def test_arrows_run_one_way() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer.split()}
    assert {room(name) for name in modules()} - {""} == level.keys(), "every room has its layer"
    wrong = [
        str(one)
        for one in imports()
        if one.when != "for types"
        and room(one.source) != room(one.target)
        and level[room(one.target)] >= level[room(one.source)]
    ]
    assert wrong == []


def test_engines_know_no_domain() -> None:
    assert [str(one) for one in imports() if room(one.source) in ENGINES and room(one.target) == "defs"] == []


def test_a_domain_knows_no_other_and_the_platform_knows_them_by_their_list() -> None:
    def allowed(one: Import) -> bool:
        if domain(one.source):
            return domain(one.target) == domain(one.source)
        return domain(one.target) is None or one.source == "defs.domains"

    assert len({domain(name) for name in modules()} - {None}) > 2
    assert [str(one) for one in imports() if room(one.source) == room(one.target) == "defs" and not allowed(one)] == []


def test_clients_of_the_shop_know_a_domains_rules_and_schema_alone() -> None:
    wrong = [
        str(one)
        for one in imports()
        if room(one.source) in RULES_AND_SCHEMA_ALONE
        and room(one.target) == "defs"
        and one.target.rpartition(".")[2] not in ("rules", "schema")
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    targets: dict[str, list[str]] = {name: [] for name in modules()}
    for one in imports():
        if one.when != "for types":
            targets[one.source].append(one.target)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in targets[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in targets:
        visit(name, ())


def test_what_sparks_workers_load_imports_no_dagster() -> None:
    seen: set[str] = set()
    to_do = worker_modules()
    while to_do:
        name = to_do.pop()
        if name not in seen:
            seen.add(name)
            # A module's folders are loaded with it.
            to_do += [
                name.rpartition(".")[0],
                *(i.target for i in imports() if i.source == name and i.when == "at once"),
            ]
    assert "postgres" in seen, "promotions' sink writes to it"
    named = {name: [what for what, when in _imports(modules()[name]) if when == "at once"] for name in seen}
    assert [name for name, whats in named.items() if any(what.split(".")[0] == "dagster" for what in whats)] == []


def loaded(names: list[str]) -> set[str]:
    """The top-level packages in a new Python after these imports."""
    script = f"import sys, {', '.join(f'{PACKAGE}.{name}' for name in names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        (worker_modules(), {"dagster"}),
        (["defs.sales.aggregate"], {"dagster", "confluent_kafka", "psycopg2", "deltalake", "pydantic", "pandas"}),
    ],
    ids=["the files of Spark's workers", "aggregate"],
)
def test_what_must_start_fast_or_alone_loads_little(names: list[str], absent: set[str]) -> None:
    found = loaded(names)
    assert "pyspark" in found and found & absent == set()


def test_clients_are_made_in_their_servers_rooms_alone() -> None:
    made: dict[str, set[str]] = {}
    for name, tree in modules().items():
        for node in ast.walk(tree):
            what = ast.unparse(node.func if isinstance(node, ast.Call) else node) if _may_be_client(node) else ""
            if what in CLIENTS:
                made.setdefault(what, set()).add(name)
    assert made == {what: {name} for what, name in CLIENTS.items()}


def _may_be_client(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) or (isinstance(node, ast.Attribute) and node.attr == "builder")


def test_no_file_is_long() -> None:
    files = [path for folder in (ROOT / PACKAGE, TESTS) for path in folder.rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in files}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize(
    "folder", sorted(str(path.parent.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("__init__.py"))
)
def test_a_folder_says_what_it_is_and_its_map_is_right(folder: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert text
    there = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    named = {word.strip("`,.;:()") for word in text.split()}
    named = {word for word in named if word.endswith(".py") and "/" not in word}
    assert not named or named == there
