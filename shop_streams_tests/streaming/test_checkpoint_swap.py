"""A new checkpoint comes into its place as a whole, also after an interruption at any step."""

from pathlib import Path

import pytest

from shop_streams.streaming import checkpoint_swap
from shop_streams.streaming.checkpoint import metadata_without_spark, write_metadata
from shop_streams.streaming.checkpoint_swap import is_begun, replace_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    old = tmp_path / "stream"
    (old / "offsets").mkdir(parents=True)
    (old / "offsets" / "7").write_text("v1")
    (old / "metadata").write_text('{"id":"a"}')
    write_metadata(str(old), "writer_id", "w")
    return old


def new_is_there(folder: Path) -> bool:
    return (
        metadata_without_spark(str(folder), "start") == "5"
        and metadata_without_spark(str(folder), "writer_id") is None
        and not (folder / "offsets").exists()
        and (folder / "metadata").read_text() == '{"id":"a"}'
    )


def old_ones(folder: Path) -> list[Path]:
    return list(folder.parent.glob("stream.before_*"))


def test_the_old_checkpoint_is_kept_and_the_query_keeps_its_id(folder: Path) -> None:
    aside = replace_checkpoint(str(folder), {"start": "5"})
    assert new_is_there(folder) and not is_begun(str(folder))
    assert [str(one) for one in old_ones(folder)] == [aside]
    assert (old_ones(folder)[0] / "offsets" / "7").exists()


def test_without_an_old_one_there_is_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "stream"
    assert replace_checkpoint(str(folder), {"start": "5"}) is None
    assert metadata_without_spark(str(folder), "start") == "5" and not (folder / "metadata").exists()


@pytest.mark.parametrize(("step", "call"), [("write_metadata", 1), ("write_metadata", 2), ("_move", 1), ("_move", 2)])
def test_after_an_interruption_it_is_known_that_it_was_begun_and_the_next_one_ends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    calls = 0
    real = getattr(checkpoint_swap, step)

    def killed(*given: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_swap, step, killed)
        with pytest.raises(KeyboardInterrupt):
            replace_checkpoint(str(folder), {"other": "1", "start": "5"})
    assert not new_is_there(folder)
    assert is_begun(str(folder)) or (step, call) == ("write_metadata", 1), "nothing was written yet"
    replace_checkpoint(str(folder), {"start": "5"})
    assert new_is_there(folder) and not is_begun(str(folder))
    assert len(old_ones(folder)) == 1 and metadata_without_spark(str(folder), "other") is None
