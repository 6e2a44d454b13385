"""After each loss and each restore, the start says what is wrong, and `recover` continues: nothing twice, and the told loss."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from shop_streams.lake import facts
from shop_streams.settings import Settings
from shop_streams.streaming import checkpoint_swap
from shop_streams.streaming import recover as recovery
from shop_streams.streaming.accounting import recent_account, topic_account
from shop_streams.streaming.agreement import CheckpointLost, CheckpointOlder, RecoveryInterrupted, TableOlder
from shop_streams.streaming.identity import RecordsLost, TopicChanged
from shop_streams.streaming.recover import NotRecoverable, make_plan
from shop_streams_tests.streaming.recovered import Pretended

STEP = 1_000_000  # between a topic's partitions and those of the topic after it


def sums(stream: Pretended) -> tuple[int, int, int, int, bool]:
    """(rows, dead letters, lost, missing, exact)."""
    found = topic_account(stream.spec, stream.settings)
    assert recent_account(stream.spec, stream.settings).sums["lost"] == found.lost
    return found.sums["rows"], found.sums["dead_letters"], found.lost, found.sums["missing"], found.exact


def test_a_lost_checkpoint_continues_after_the_tables_last_record(kafka: Settings) -> None:
    stream = Pretended.new(kafka, partitions=2)
    stream.send(b"1", b"2", b"bad")
    stream.send(b"1", b"2", b"3", b"4", partition=1)
    stream.ingest()
    assert not make_plan(stream.spec, stream.settings).needed, "nothing is wrong yet"
    shutil.rmtree(stream.folder)
    stream.send(b"3", b"bad")
    with pytest.raises(CheckpointLost, match=r"a second time\. `shop-streams recover recover-"):
        stream.start()
    before = make_plan(stream.spec, stream.settings)
    assert not stream.folder.exists(), "a plan changes nothing"
    plan = stream.recover()
    assert plan == before and (plan.needed, plan.lost, plan.created_again) == (True, 0, False)
    assert [(one.partition, one.start) for one in plan.partitions] == [(0, 3), (1, 4)]
    assert sums(stream)[3:] == (0, True), "what was not read yet is in flight"
    assert not make_plan(stream.spec, stream.settings).needed, "it only has to start"
    stream.ingest()
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert stream.letters() == [2, 4]
    assert sums(stream) == (7, 2, 0, 0, True)
    assert not make_plan(stream.spec, stream.settings).needed


@pytest.mark.parametrize("lost", [False, True], ids=["moved aside by the recovery", "lost before it"])
def test_a_checkpoint_from_before_a_recovery_is_refused_when_it_is_put_back(kafka: Settings, lost: bool) -> None:
    """Also if the recovery could not know the writer of the lost one, whose batches would be written a second time."""
    stream = Pretended.new(kafka)
    stream.send(b"1", b"2")
    stream.ingest()
    backup = stream.folder.with_name("backup")
    shutil.copytree(stream.folder, backup)
    stream.send(b"3")
    if lost:
        shutil.rmtree(stream.folder)
    else:
        stream.ingest()
        shutil.rmtree(stream.folder)
        shutil.copytree(backup, stream.folder)
    stream.recover()
    stream.send(b"4")
    stream.ingest()
    for _ in range(2):
        shutil.rmtree(stream.folder)
        shutil.copytree(backup, stream.folder)
        with pytest.raises(CheckpointOlder, match="was replaced by a recovery"):
            stream.start()
        stream.recover()
        stream.send(b"5")
        stream.ingest()
    assert stream.rows() == [(0, number) for number in range(6)] and sums(stream) == (6, 0, 0, 0, True)


def test_a_table_that_was_emptied_after_a_recovery_starts_anew(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"1", b"2")
    stream.ingest()
    shutil.rmtree(stream.folder)
    stream.recover()
    DeltaTable(stream.uri).delete()
    shutil.rmtree(stream.folder)
    stream.ingest()
    stream.send(b"3")
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 2)]


def test_after_a_retention_overrun_the_deleted_offsets_are_lost_and_known(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"1")
    stream.ingest()
    stream.send(b"2", b"3", b"4", b"5", b"6")
    stream.delete_before(6)
    with pytest.raises(RecordsLost, match="shop-streams recover"):
        stream.start()
    plan = stream.recover()
    assert (plan.lost, plan.partitions[0].gaps, plan.partitions[0].start) == (4, ((2, 6),), 6)
    assert "RecordsLost" in str(plan.problem)
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 6)]
    assert sums(stream) == (1, 0, 4, 0, True)
    old = list(stream.folder.parent.glob(f"{stream.folder.name}.before_*"))
    assert [(one / "commits" / "0").exists() for one in old] == [True], "the old checkpoint is kept"


def test_a_restored_older_table_is_filled_again_and_its_newer_letters_are_not_doubled(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"bad", b"2")
    stream.ingest()
    backup = Path(f"{stream.uri}-backup")
    shutil.copytree(stream.uri, backup)
    stream.send(b"3", b"bad", b"5", b"6")
    stream.ingest()
    shutil.rmtree(stream.uri)
    backup.rename(stream.uri)
    stream.send(b"7")
    with pytest.raises(TableOlder, match=r"up to offset 7, and table .* lacks record 3"):
        stream.start()
    plan = stream.recover()
    assert (plan.lost, plan.partitions[0].start, plan.partitions[0].present) == (0, 3, ((4, 5),))
    assert plan.needed and not make_plan(stream.spec, stream.settings).needed
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 2), (0, 3), (0, 5), (0, 6), (0, 7)]
    assert stream.letters() == [1, 4]
    assert sums(stream) == (6, 2, 0, 0, True)


def test_of_a_restored_older_table_only_what_kafka_has_deleted_is_lost(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"1")
    stream.ingest()
    backup = Path(f"{stream.uri}-backup")
    shutil.copytree(stream.uri, backup)
    stream.send(b"2", b"bad", b"4", b"5", b"6")
    stream.ingest()
    stream.delete_before(5)
    shutil.rmtree(stream.uri)
    backup.rename(stream.uri)
    with pytest.raises(TableOlder, match="lacks record 5"):
        stream.start()
    plan = stream.recover()
    assert (plan.lost, plan.partitions[0].gaps) == (2, ((2, 3), (4, 5))), "3 is a dead letter"
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 5), (0, 6)]
    assert sums(stream) == (2, 0, 2, 0, True)


def test_a_restored_older_checkpoint_skips_nothing(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0")
    stream.ingest()
    backup = stream.folder.with_name("backup")
    shutil.copytree(stream.folder, backup)
    for value in (b"1", b"2"):
        stream.send(value)
        stream.ingest()
    shutil.rmtree(stream.folder)
    backup.rename(stream.folder)
    stream.send(b"3")
    with pytest.raises(CheckpointOlder, match="is older: the table has its batch 2"):
        stream.start()
    stream.recover()
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert sums(stream) == (4, 0, 0, 0, True)


@pytest.mark.parametrize("checkpoint_is_lost_too", [False, True])
def test_a_topic_that_was_made_again_continues_in_the_same_table(kafka: Settings, checkpoint_is_lost_too: bool) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"1", b"bad")
    stream.ingest()
    stream.make_topic_again()
    stream.send(b"0", b"bad", b"2", b"3")
    if checkpoint_is_lost_too:
        shutil.rmtree(stream.folder)
    with pytest.raises(CheckpointLost if checkpoint_is_lost_too else TopicChanged, match="shop-streams recover"):
        stream.start()
    plan = stream.recover()
    assert (plan.created_again, plan.generation, plan.partitions[0].start, plan.lost) == (True, 1, 0, 0)
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (STEP, 0), (STEP, 2), (STEP, 3)]
    assert sums(stream) == (3, 1, 0, 0, True), "the account is of the present topic alone"
    shutil.rmtree(stream.folder)
    stream.send(b"4")
    again = stream.recover()
    assert (again.created_again, again.generation, again.partitions[0].start) == (False, 1, 4)
    stream.ingest()
    assert stream.rows()[-1] == (STEP, 4) and len(stream.rows()) == 6
    assert sums(stream) == (4, 1, 0, 0, True)


def test_a_topic_that_ends_before_its_table_is_not_guessed_at(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0")
    stream.ingest()
    stream.make_topic_again()
    facts.remember(
        stream.uri, {f"topic:{make_plan(stream.spec, stream.settings).identity}": 0}
    )  # the same topic, with less
    with pytest.raises(NotRecoverable, match=r"partition 0: 1, and Kafka's is 0"):
        stream.recover()
    assert stream.folder.exists()


@pytest.mark.parametrize(
    ("step", "refused"),
    [("record_gaps", CheckpointOlder), ("replace_checkpoint", CheckpointOlder), ("swap", RecoveryInterrupted)],
)
def test_an_interrupted_recovery_starts_nothing_and_is_completed_by_the_next(
    kafka: Settings, monkeypatch: pytest.MonkeyPatch, step: str, refused: type[Exception]
) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"1")
    stream.ingest()
    stream.send(b"2", b"3")
    stream.delete_before(3)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_swap if step == "swap" else recovery, "_move" if step == "swap" else step, killed)
        with pytest.raises(KeyboardInterrupt):
            stream.recover()
    with pytest.raises(refused, match="shop-streams recover"):
        stream.start()
    assert stream.recover().lost == 1
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 1), (0, 3)]
    assert sums(stream) == (1, 0, 1, 0, True)
