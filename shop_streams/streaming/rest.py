"""A stack that is being stopped asks its streams to rest: each stops at a batch boundary and gives its lease back.

One row of the table is one stack that is being stopped, by the id that its home keeps (a laptop's name changes with its network):
`down` writes it, `up` deletes it.
Other stacks on the same database go on.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shop_streams.postgres import short_transaction
from shop_streams.settings import Settings

DDL = """
create table if not exists rest_requests (
    stack        text primary key,
    requested_at timestamptz not null default clock_timestamp()
)
"""
BEING_STOPPED = "the stack is being stopped: its streams rest until the next `shop-streams up`"


def stack_id(home: Path) -> str:
    """The id of the home's stack, made at the first call."""
    path = home / "stack.id"
    home.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=home, prefix="stack.id.") as part:  # its owner's alone
            part.write(uuid.uuid4().hex)
            part.flush()
            with suppress(FileExistsError):  # another process was first; nobody reads half of it
                os.link(part.name, path)
    return path.read_text()


@dataclass(frozen=True)
class RestRequest:
    """The request of one stack, in the database behind `dsn`. Every method is one transaction."""

    dsn: str
    stack: str

    @classmethod
    def of(cls, settings: Settings) -> RestRequest:
        """The request of the stack that these settings describe."""
        return cls(settings.postgres, stack_id(settings.home))

    def create_table(self) -> None:
        """Create the table where it is missing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select pg_advisory_xact_lock(hashtext('rest_requests'))")  # DDL races are errors
            cursor.execute(DDL)

    def make(self) -> None:
        """Ask this stack's streams to rest, and its automation to start nothing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("insert into rest_requests (stack) values (%s) on conflict do nothing", (self.stack,))

    def clear(self) -> None:
        """Let them run again."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from rest_requests where stack = %s", (self.stack,))

    def made(self) -> bool:
        """Whether this stack's streams shall rest."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select from rest_requests where stack = %s", (self.stack,))
            return bool(cursor.rowcount)
