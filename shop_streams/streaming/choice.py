"""Choose dead letters by domain, reason and origin. Values are read of the chosen letters alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow.compute as pc

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings
from shop_streams.streaming.drafts import Letter, origin_of
from shop_streams.streaming.letters import ALL, Letters
from shop_streams.streaming.replay import look_for_interrupted
from shop_streams.streaming.replay_ledger import open_ledger, origin_chain

REASONS_LISTED = 20
REASONS = f"""
select reason, count(*) as number, count(*) over () from letters
 group by reason order by number desc, min("at") limit {REASONS_LISTED}
"""


@dataclass(frozen=True)
class Choice:
    """A filter of letters: the domain, a text in the reason, and origins; None and () select all."""

    domain: str | None = None
    reason: str | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The chosen letters, oldest first.

    `count`: how many letters were chosen; `letters` may be the first of them. `replayed`: origins of those in `letters` that were
    replayed. `replay_of`: origin of a replayed record -> origin of its letter.
    """

    letters: list[Letter]
    count: int
    replayed: set[str]
    replay_of: dict[str, str]
    table: Letters

    @property
    def open(self) -> list[Letter]:
        """The letters that were not replayed."""
        return [letter for letter in self.letters if origin_of(letter) not in self.replayed]

    @property
    def records(self) -> dict[str, str]:
        """Origin of a replayed letter -> origin of its record in the topic, if known."""
        landed = {letter: record for record, letter in self.replay_of.items()}
        return {origin: landed[origin] for origin in sorted(self.replayed & landed.keys())}

    @cached_property
    def firsts(self) -> dict[str, bytes | None]:
        """Letter's origin -> value of the first letter that led to it. Those that are not in `letters` are read now."""
        values = {origin_of(letter): letter["raw"] for letter in self.letters}
        began = {origin: (origin_chain(origin, self.replay_of) or [origin])[-1] for origin in values}
        if others := set(began.values()) - values.keys():
            values |= {origin_of(letter): letter["raw"] for letter in self.table.read(self.table.among(others))}
        return {origin: values[first] for origin, first in began.items() if first in values}

    def reasons(self, origins: Iterable[str]) -> dict[str, str]:
        """Origin -> reason of the letters with these origins that are still kept."""
        where = self.table.among(set(origins))
        return dict(self.table.ask("select origin, reason from letters", ["origin", "reason"], where))


def find_chosen(
    settings: Settings, choice: Choice, domains: Sequence[str], everything: bool = False, most: int | None = None
) -> Found:
    """The open letters that match the choice; with origins, or for `everything`, also replayed letters.

    With `most`, only the first of them are read.

    Raises:
        ShopStreamsError: the choice names a domain, reason or origin that does not exist, or a server does not answer.
    """
    with open_ledger(settings) as ledger:
        look_for_interrupted(ledger, settings)
        sent, replay_of = ledger.sent(), ledger.replay_of()
    letters = Letters.of(settings)
    where = choose(letters, choice, domains, ALL if everything or choice.origins else ~letters.among(sent))
    chosen = letters.read(where) if most is None else letters.oldest(most, where)
    count = len(chosen) if most is None else letters.count(where)
    return Found(chosen, count, sent & set(map(origin_of, chosen)), replay_of, letters)


def choose(letters: Letters, choice: Choice, domains: Sequence[str], pool: pc.Expression = ALL) -> pc.Expression:
    """A condition for the letters in the pool that match the choice.

    Raises:
        ShopStreamsError: there is no such domain, reason or origin; lists the existing ones.
    """
    where = pool
    if choice.domain is not None:
        stored = letters.ask("select distinct domain from letters", ["domain"], pool)
        known = sorted({*domains, *(name for (name,) in stored)})
        if choice.domain not in known:
            raise ShopStreamsError(f"There is no domain {choice.domain!r}. There are: {', '.join(known)}.")
        where &= pc.field("domain") == choice.domain
    if choice.origins:
        where &= letters.among(choice.origins)
        here = {origin for (origin,) in letters.ask("select distinct origin from letters", ["origin"], where)}
        if missing := [origin for origin in choice.origins if origin not in here]:
            within = f" in domain {choice.domain}" if choice.domain else ""
            raise ShopStreamsError(
                f"There is no dead letter at {', '.join(map(repr, missing))}{within}. An origin is topic:partition:offset, or file:line; "
                "`shop-streams dead-letters list --all` prints them."
            )
    if choice.reason is None:
        return where
    matching = where & pc.match_substring(pc.field("reason"), choice.reason)
    reasons = letters.ask(REASONS, ["reason", "at"], where) if not letters.count(matching) else []
    if reasons:
        told = "; ".join(f"{reason!r} ({count})" for reason, count, _ in reasons)
        others = reasons[0][2] - len(reasons)
        more = f"; and {others} more" if others else ""
        raise ShopStreamsError(f"No reason contains {choice.reason!r}. The letters' reasons are: {told}{more}.")
    return matching
