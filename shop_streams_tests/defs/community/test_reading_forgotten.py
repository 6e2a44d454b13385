"""Rows of a user who was removed are left out when a file is read again."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shop_streams.defs.community.output import Output
from shop_streams.defs.community.reading import Reader
from shop_streams.streaming.forgotten import ForgottenPersons, keyed_hash
from shop_streams_tests.defs.community.delivered import TIMES, listed, message, write_lines


def test_rows_of_a_forgotten_user_are_left_out_up_to_the_removal(tmp_path: Path) -> None:
    removed_at = datetime(2026, 1, 1, 10, tzinfo=UTC)  # user 7; message() is of that moment
    forgotten = ForgottenPersons(b"secret", {keyed_hash(b"secret", "7"): removed_at})
    later, other = message(datetime="2026-01-01 10:00:00.000001"), message(message_from=9)
    file = write_lines(tmp_path / "a.json", [message(), later, other, message(message_from="x")])
    output = Output()
    for _ in Reader(str(tmp_path), TIMES, forgotten).read(listed(file, tmp_path), output):
        pass
    assert [(line, row.user_id) for row, line, *_ in output.rows] == [(2, 7), (3, 9)]
    assert [line for _, line, *_ in output.letters] == [4]


@pytest.mark.parametrize(
    ("row", "stays"),
    [
        (message(message_to="x"), False),
        (message(message_to="x", datetime="2026-01-01 10:00:00.000001"), True),
        (message(message_to="x", message_from=9), True),
        (message(datetime="soon"), False),
        (message(datetime=None), False),
        (message(message_to="x", datetime=None, message_ts="2026-01-01 10:00:01"), True),
        (message() | {"event_type": "unknown"}, False),
        (message(message_from=None, reaction_from="007", message_to="x"), False),
        (message(message_from=7.0, message_to="x"), False),
        (message(message_from="x", user="7.5"), True),
        ({"event_type": "message"}, True),
        (b'{"event": {"message_from": 7', True),
    ],
)
def test_refused_rows_of_a_forgotten_user_are_left_out_unless_they_are_newer(
    row: Any, stays: bool, tmp_path: Path
) -> None:
    forgotten = ForgottenPersons(b"secret", {keyed_hash(b"secret", "7"): datetime(2026, 1, 1, 10, tzinfo=UTC)})
    file = write_lines(tmp_path / "a.json", [row])
    for reader, expected in ((Reader(str(tmp_path), TIMES, forgotten), stays), (Reader(str(tmp_path), TIMES), True)):
        output = Output()
        assert list(reader.read(listed(file, tmp_path), output)) == [] and output.rows == []
        assert len(output.letters) == expected
