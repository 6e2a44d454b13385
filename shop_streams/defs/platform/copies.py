"""Where copies of a person's rows remain after `forget-user`, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaException

from shop_streams.defs.platform.forget import Removal, Request, count_rows, in_postgres, letters
from shop_streams.defs.platform.maintenance import READERS_HOURS
from shop_streams.domain import Domain
from shop_streams.lake import forget
from shop_streams.settings import Settings
from shop_streams.topics import topic_settings

SHOWN = 20
YOURS = "you delete them"


@dataclass(frozen=True)
class Copy:
    """A place with a copy, and until when it has it, both in words."""

    what: str
    until: str


def copies_of(request: Request, found: Sequence[Removal]) -> list[Copy]:
    """The copies. Ask before rows are removed: the names of files are read from the rows. `found`: what `survey` found."""
    settings = request.settings
    copies = [copy for domain in request.domains for copy in _of_domain(request, domain)]
    tables = [one.where for one in found if one.partitions]
    if tables:
        copies.append(
            Copy(
                f"old versions of {', '.join(tables)}, and statistics of columns in their logs",
                f"daily_maintenance deletes the files {READERS_HOURS} hours after the removal; Delta keeps the log for 30 days",
            )
        )
    return [
        *copies,
        Copy("previews of partitions and of replayed dead letters in Dagster's event log", "their runs are deleted, or the assets wiped"),
        Copy(f"logs in {settings.home / 'logs'}", YOURS),
        Copy("backups, and PostgreSQL's own archives", YOURS),
    ]  # fmt: skip


def _of_domain(request: Request, domain: Domain) -> Iterator[Copy]:
    settings, persons, person = request.settings, domain.persons, request.person
    found = letters(request, domain)
    for topic in persons.topics:
        yield Copy(f"Kafka topic {topic.name}", retention_of(settings, topic.name))
    if persons.files is not None:
        table, column = persons.files
        columns = next(one.columns for one in persons.lake if one.table == table)
        refused = {one.file for one in found.naming if one.file is not None}
        files = sorted(refused.union(forget.distinct(table.uri(settings), column, columns, person)))
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        if files:
            yield Copy(f"{len(files)} files of the landing folder: {', '.join(files[:SHOWN])}{more}", YOURS)
        else:
            yield Copy("files of the landing folder, which an earlier removal may have named", YOURS)
    for one in persons.named_in:
        rows = forget.find(one.table.uri(settings), one.table.partition_by[0], one.columns, person)
        if rows.count:
            yield Copy(f"{rows.count} rows of others in {one.table.path} that name this id", "they stay")
    for words in persons.more_copies:
        yield Copy(words, "they stay")
    for shop in persons.postgres:
        if shop.of_the_shop and not request.shop_tables and (number := count_rows(settings.postgres, shop, person)):
            yield Copy(
                f"{number} rows of the shop's own table {in_postgres(shop)}; from them, new rows may be made",
                "the shop deletes them, or this command with --shop-tables",
            )
    undecided = [str(origin) for origin in found.undecided]
    if undecided:
        more = f" and {len(undecided) - SHOWN} more" if len(undecided) > SHOWN else ""
        yield Copy(
            f"dead letters that can't be decoded and contain the id: {', '.join(undecided[:SHOWN])}{more}",
            f"they expire after {settings.dead_letter_days} days, once Kafka has deleted their records",
        )


def retention_of(settings: Settings, topic: str) -> str:
    """Until when the topic keeps a record that arrives now, in words."""
    try:
        found = topic_settings(settings.kafka, topic)
    except KafkaException as error:
        return f"unknown: {error.args[0].str() if error.args else error}"
    if "delete" not in found["cleanup.policy"]:
        return f"the topic is deleted, or a later record has the same key: cleanup.policy is {found['cleanup.policy']}"
    if int(found["retention.ms"]) < 0:
        return "the topic is deleted: it has no retention.ms"
    # Kafka deletes whole segments. One is written to for `segment.ms` at most, and kept until its newest record is too old.
    retention, segment = (timedelta(milliseconds=int(found[name])) for name in ("retention.ms", "segment.ms"))
    until = datetime.now(UTC) + retention + segment
    days = [one / timedelta(days=1) for one in (retention, segment)]
    return f"about {until:%Y-%m-%d %H:%M} UTC at the latest: retention.ms is {days[0]:g} days, and segment.ms {days[1]:g} more"
