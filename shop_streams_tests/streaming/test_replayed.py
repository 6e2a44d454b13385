"""A letter stays replayed if PostgreSQL or the lake is restored from an older backup."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from shop_streams.settings import Settings
from shop_streams.streaming.replayed import REPLAYED, bring_together, replayed


@dataclass
class Ledger:
    """The ledger's letters that were sent."""

    rows: dict[str, str | None] = field(default_factory=dict)

    def landings(self) -> dict[str, str | None]:
        return dict(self.rows)

    def restore(self, origin: str, landed: str | None) -> None:
        self.rows[origin] = landed


def test_each_gets_what_only_the_other_knows(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ledger = Ledger()
    bring_together(settings, ledger)
    assert not Path(REPLAYED.uri(settings)).exists(), "nothing was replayed"
    first, later = {"sales:0:5": "sales:0:9", "a:b:1:2": None}, {"sales:1:7": "sales:0:10"}
    ledger.rows |= first
    bring_together(settings, ledger)
    backup = tmp_path / "backup"
    shutil.copytree(REPLAYED.uri(settings), backup)
    ledger.rows |= later
    bring_together(settings, ledger)
    assert replayed(settings) == first | later

    older = Ledger(dict(first))  # PostgreSQL is of yesterday
    bring_together(settings, older)
    assert older.rows == first | later

    shutil.rmtree(REPLAYED.uri(settings))  # and now the lake is
    backup.rename(REPLAYED.uri(settings))
    assert replayed(settings) == first
    bring_together(settings, older)
    assert replayed(settings) == first | later
