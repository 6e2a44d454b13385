"""The dead letters in the graph, and the job that sends them again."""

import dagster as dg

from shop_streams.defs.streams import LAKE_STREAMS
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.settings import get_settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.replay import find_open, mend_with, origin_of, replay
from shop_streams.streaming.spec import stream_key

SHOWN = 100

dead_letters = dg.AssetSpec(
    asset_key(DEAD_LETTERS),
    description=DEAD_LETTERS.rows_are,
    group_name="streams",
    kinds={"delta"},
    owners=["team:data-platform"],
    deps=[stream_key(stream) for stream in LAKE_STREAMS],
    metadata={"dagster/column_schema": column_schema(DEAD_LETTERS)},
)


class ReplayConfig(dg.Config):
    """Which dead letters to send again, and how to mend them; nothing given means all that are open, as they are."""

    domain: str = ""
    reason: str = ""
    fix: str = ""


@dg.op(
    description="Sends dead letters to their topics again, each once. `fix` is a shell command, from value to value."
)
def replay_open_dead_letters(context: dg.OpExecutionContext, config: ReplayConfig) -> None:
    settings = get_settings()
    letters = find_open(settings, config.domain or None, config.reason or None)
    sent = list(replay(letters, settings, mend_with(config.fix or None)))
    table = [dg.TableRecord({"place": origin_of(letter), "reason": letter["reason"]}) for letter in sent[:SHOWN]]
    metadata = {"replayed": len(sent), "dead_letters": dg.MetadataValue.table(table)} if table else {"replayed": 0}
    context.add_output_metadata(metadata)


@dg.job(
    description="Replays what was refused: pick a domain or a reason, give a fix, launch.",
    # The launchpad begins with this, for a person to fill in.
    config=dg.RunConfig({"replay_open_dead_letters": ReplayConfig()}),
)
def replay_dead_letters() -> None:
    replay_open_dead_letters()


definitions = dg.Definitions(assets=[dead_letters], jobs=[replay_dead_letters])
