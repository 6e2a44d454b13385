"""The named fixes change what their name says and nothing else; Dagster offers them, and no shell."""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import shop_streams
from shop_streams.cli.dead_letters import replay_dead_letters as command
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.platform.dead_letters import Domain, ReplayConfig, replay_dead_letters
from shop_streams.defs.platform.fixes import FIXES, Fix
from shop_streams.streaming.drafts import FixFailed

CASES: list[tuple[Fix, bytes, bytes]] = [
    (Fix.as_is, b"\xff not even text", b"\xff not even text"),
    (Fix.trim, b'\xef\xbb\xbf {"item_id":"i"}\n\0', b'{"item_id":"i"}'),
    (Fix.trim, b'{"restaurant_id":"123\\n","n":[" a "]}', b'{"restaurant_id":"123","n":[" a "]}'),
    (Fix.texts_to_numbers, b'{"item_price":" 5","uid":"7"}', b'{"item_price":5,"uid":"7"}'),
    (Fix.texts_to_numbers, b'{"item_price":5.0}', b'{"item_price":5}'),
    (Fix.texts_to_numbers, b'{"item_price":5.5}', b'{"item_price":5.5}'),
    (Fix.texts_to_numbers, b'{"item_price":"5,50 EUR"}', b'{"item_price":"5,50 EUR"}'),
    (Fix.numbers_to_texts, b'{"uid":12345,"item_price":5}', b'{"uid":"12345","item_price":5}'),
    (Fix.numbers_to_texts, b'{"uid":true,"category":{"id":5}}', b'{"uid":true,"category":{"id":5}}'),
    (Fix.seconds_to_milliseconds, b'{"timestamp":1577865600}', b'{"timestamp":1577865600000}'),
    (Fix.seconds_to_milliseconds, b'{"timestamp":1577865600000}', b'{"timestamp":1577865600000}'),
    (
        Fix.milliseconds_to_seconds,
        b'{"adv_campaign_datetime_start":1659203516000,"adv_campaign_datetime_end":2659207116}',
        b'{"adv_campaign_datetime_start":1659203516,"adv_campaign_datetime_end":2659207116}',
    ),
    (Fix.unwrap_array, b'[{"uid":"u"}]', b'{"uid":"u"}'),
    (Fix.unwrap_array, b'{"uid":"u"}', b'{"uid":"u"}'),
    # What has nothing to mend stays byte by byte: white space, the order, exponents, numbers beyond a double.
    (Fix.trim, b'{ "b" : 1e2, "a":12345678901234567890123 }', b'{ "b" : 1e2, "a":12345678901234567890123 }'),
    (Fix.seconds_to_milliseconds, '{"category":"тёплое","timestamp":1577865600}'.encode(),
     '{"category":"тёплое","timestamp":1577865600000}'.encode()),
]  # fmt: skip


@pytest.mark.parametrize(("fix", "raw", "mended"), CASES)
def test_a_fix_changes_what_its_name_says(fix: Fix, raw: bytes, mended: bytes) -> None:
    assert FIXES[fix](raw) == mended
    assert FIXES[fix](mended) == mended, "once more changes nothing"


@pytest.mark.parametrize(
    ("fix", "raw", "why"),
    [
        (Fix.trim, b"{half", "not JSON"),
        (Fix.trim, b"\xff\xfe", "not JSON"),
        (Fix.trim, b"[" * 100_000, "not JSON"),
        (Fix.trim, b"5", "not a JSON object"),
        (Fix.trim, b'{"a":" x","a":"y"}', "twice"),
        (Fix.trim, b'{"a":" \\ud800"}', "can't be written"),
        (Fix.trim, b'{"a":" x","b":1e999}', "can't be written"),
        (Fix.unwrap_array, b'[{"uid":"u"},{"uid":"v"}]', "an array of 2"),
    ],
)
def test_a_value_that_a_fix_cannot_change_correctly_is_an_error(fix: Fix, raw: bytes, why: str) -> None:
    with pytest.raises(FixFailed, match=why):
        FIXES[fix](raw)


def test_every_fix_is_offered_and_described_in_the_ui_and_the_command() -> None:
    assert set(FIXES) == set(Fix)
    for fix in Fix:
        assert fix.value in str(inspect.getdoc(command)), "in the help of the command"
        assert f"{fix.value}: {FIXES[fix].__doc__}" in str(ReplayConfig.model_fields["fix"].description)
    assert {spec.domain for spec in LAKE_STREAMS} < {domain.value for domain in Domain}


def run_config(**config: Any) -> dict[str, Any]:
    return {"ops": {"replay_open_dead_letters": {"config": config}}}


def test_the_job_is_a_dry_run_with_typed_and_described_fields() -> None:
    given = dg.validate_run_config(replay_dead_letters, {})["ops"]["replay_open_dead_letters"]["config"]
    assert given["dry_run"] is True and given["send_refused"] is False
    assert all(field.description for field in ReplayConfig.model_fields.values())
    dg.validate_run_config(
        replay_dead_letters, run_config(domain="sales", fix="seconds_to_milliseconds", dry_run=False)
    )
    for wrong in ({"fix": "sed s/bux/buy/"}, {"domain": "slaes"}, {"dry_run": "no"}, {"command": "id"}):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(replay_dead_letters, run_config(**wrong))


def shell_calls(path: Path) -> list[str]:
    """Lines of a module that start a program from a string, or could."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(
                name.split(".")[0] in ("subprocess", "pty") or name == "shop_streams.cli.shell_fix" for name in names
            ):
                found.append(f"{path}:{node.lineno}")
        if isinstance(node, ast.Attribute) and node.attr in (
            "system",
            "popen",
            "posix_spawn",
            "create_subprocess_shell",
        ):
            found.append(f"{path}:{node.lineno}")
    return found


def test_nothing_that_dagster_runs_can_start_a_shell() -> None:
    package = Path(shop_streams.__file__).parent
    assert shell_calls(package / "cli" / "shell_fix.py"), "the search finds a shell where there is one"
    modules = [
        path for folder in ("defs", "streaming", "marts", "lake") for path in sorted((package / folder).rglob("*.py"))
    ]
    assert len(modules) > 30
    assert [line for path in modules for line in shell_calls(path)] == []


def test_a_letter_as_json_goes_through_every_fix_unharmed() -> None:
    event = {
        "event_type": "buy",
        "category": "c",
        "item_id": "i",
        "item_price": 5,
        "uid": None,
        "timestamp": 1577865600000,
    }
    raw = json.dumps(event, indent=1).encode()
    assert {fix(raw) for fix in FIXES.values()} == {raw}
