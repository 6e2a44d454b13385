"""Rest requests: a stack that is being stopped asks its streams to stop at a batch boundary and release their leases.

One row is one stack that is being stopped: `down` writes it, `up` deletes it. The stack's id is a file in its home, because a
host name may change. Other stacks on the same database are not affected.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shop_streams.postgres import run_ddl, short_transaction
from shop_streams.settings import Settings

DDL = """
create table if not exists rest_requests (
    stack        text primary key,
    requested_at timestamptz not null default clock_timestamp()
)
"""
BEING_STOPPED = "the stack is being stopped: its streams rest until the next `shop-streams up`"


def stack_id(home: Path) -> str:
    """The id of the home's stack, created at the first call."""
    path = home / "stack.id"
    home.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=home, prefix="stack.id.") as part:  # readable by its owner only
            part.write(uuid.uuid4().hex)
            part.flush()
            with suppress(FileExistsError):  # another process was first
                os.link(part.name, path)
    return path.read_text()


def find_stack_id(home: Path) -> str | None:
    """The id of the home's stack, or None if it has none yet; writes nothing."""
    path = home / "stack.id"
    return path.read_text() if path.exists() else None


@dataclass(frozen=True)
class RestRequest:
    """The request of one stack, in the database `dsn`. Every method is one transaction."""

    dsn: str
    stack: str

    @classmethod
    def of(cls, settings: Settings) -> RestRequest:
        """The request of the stack with these settings."""
        return cls(settings.postgres, stack_id(settings.home))

    def create_table(self) -> None:
        """Create the table if it is missing."""
        run_ddl(self.dsn, "rest_requests", DDL)

    def make(self) -> None:
        """Ask this stack's streams to rest, and its sensors and schedules to start nothing."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("insert into rest_requests (stack) values (%s) on conflict do nothing", (self.stack,))

    def clear(self) -> None:
        """Delete the request."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("delete from rest_requests where stack = %s", (self.stack,))

    def made(self) -> bool:
        """Whether this stack's streams should rest."""
        with short_transaction(self.dsn) as cursor:
            cursor.execute("select from rest_requests where stack = %s", (self.stack,))
            return bool(cursor.rowcount)
