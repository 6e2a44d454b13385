"""A session that keeps a read transaction open, such as a backup, holds nothing up."""

import psycopg2.sql
import pytest

from shop_streams.errors import ShopStreamsError
from shop_streams.local.stack import prepare_stores
from shop_streams.postgres import transaction
from shop_streams.streaming.replay_ledger import open_ledger
from shop_streams_tests.harness import Stack

TABLES = "select tablename from pg_tables where schemaname = 'public'"


@pytest.mark.timeout(120, func_only=True)
def test_a_backup_of_the_database_holds_up_neither_a_start_nor_a_tick(stack: Stack) -> None:
    with open_ledger(stack.settings):
        pass  # the table is there
    with transaction(stack.settings.postgres) as reader:
        reader.execute(TABLES)
        tables = [psycopg2.sql.Identifier(name) for (name,) in reader.fetchall()]
        assert len(tables) > 20
        every = psycopg2.sql.SQL(", ").join(tables)
        reader.execute(psycopg2.sql.SQL("lock table {} in access share mode").format(every))  # as pg_dump does
        prepare_stores(stack.settings)
        with open_ledger(stack.settings) as ledger:
            ledger.sent()


@pytest.mark.timeout(60, func_only=True)
def test_a_table_that_is_locked_for_long_is_an_error_in_words(stack: Stack) -> None:
    with transaction(stack.settings.postgres) as other:
        other.execute("select pg_advisory_xact_lock(hashtext('dead_letter_replays_ddl'))")
        with (
            pytest.raises(ShopStreamsError, match=r"dead_letter_replays.*pg_stat_activity"),
            open_ledger(stack.settings),
        ):
            pytest.fail("it was opened")
