"""The asset of the dead letters, and the job that replays them."""

from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from shop_streams.defs.domains import ENCODINGS, LAKE_STREAMS
from shop_streams.defs.platform.fixes import DESCRIPTIONS, FIXES, Fix
from shop_streams.lake.asset import asset_key, column_schema
from shop_streams.plain import plain, plain_pair
from shop_streams.settings import Settings
from shop_streams.spark import SparkConnect
from shop_streams.streaming.choice import Choice, find_chosen
from shop_streams.streaming.dead_letters import DEAD_LETTERS, to_replay
from shop_streams.streaming.drafts import DONE, State, make_drafts, validate_with
from shop_streams.streaming.replay import Result, replay, summary

SHOWN = 100
VALUE_WIDTH = 120
REASON_WIDTH = 300
EVERY = "every_domain"
Domain = Enum("Domain", {name: name for name in (EVERY, *(spec.domain for spec in LAKE_STREAMS))})  # type: ignore[misc]

dead_letters = dg.AssetSpec(
    asset_key(DEAD_LETTERS),
    description=DEAD_LETTERS.rows_are,
    group_name="operations",
    kinds={"deltalake"},
    owners=["team:data-platform"],
    deps=[stream.output for stream in LAKE_STREAMS],
    metadata={"dagster/column_schema": column_schema(DEAD_LETTERS)},
)


class ReplayConfig(dg.Config):
    """Which dead letters to replay, and how to fix them. The default is a dry run."""

    domain: Domain = Field(default=Domain[EVERY], description="only letters of this domain")
    reason: str = Field(default="", description="only letters whose reason contains this text; empty: any reason")
    origins: list[str] = Field(
        default=[], description="only the letters with these origins, topic:partition:offset; empty: all open ones"
    )
    fix: Fix = Field(default=Fix.as_is, description=f"how each value is fixed before it is sent. {DESCRIPTIONS}")
    from_origin: bool = Field(
        default=False,
        description="fix the value that was refused first, not the result of an earlier fix",
    )
    dry_run: bool = Field(
        default=True, description="send nothing; show each value before and after the fix, and the rules' verdict"
    )
    send_refused: bool = Field(
        default=False, description="also send values that the rules would refuse again, and empty values"
    )


@dg.op(
    description="Fixes dead letters, validates the results with the rules of their domain, and sends the valid ones to their topics "
    "again, each letter once."
)
def replay_open_dead_letters(
    context: dg.OpExecutionContext, config: ReplayConfig, spark: SparkConnect, settings: dg.ResourceParam[Settings]
) -> None:
    validate = validate_with(LAKE_STREAMS, settings, lambda: spark.spark_session)
    domain = None if config.domain.value == EVERY else config.domain.value
    choice = Choice(domain, config.reason or None, tuple(config.origins))
    found = find_chosen(settings, choice, [spec.domain for spec in LAKE_STREAMS])
    firsts = found.firsts if config.from_origin else None
    streams = [spec.name for spec in LAKE_STREAMS]
    letters = to_replay(found.open, named=bool(domain or config.origins))
    drafts = list(make_drafts(letters, FIXES[config.fix], validate, firsts, streams, ENCODINGS))
    if config.dry_run:
        results = [Result(draft, draft.state(config.send_refused), draft.verdict) for draft in drafts]
    else:
        results = list(replay(drafts, settings, config.send_refused))
    told = summary([result.state for result in results] + [State.ALREADY] * len(found.replayed))
    context.log.info(told)
    not_sent = sum(result.state not in DONE for result in results)
    metadata: dict[str, Any] = {"summary": told, "dry_run": config.dry_run, "not_sent": not_sent} | _table(results)
    if not_sent and not config.dry_run:
        raise dg.Failure(f"{told}. The table says why for each letter.", metadata=metadata, allow_retries=False)
    context.add_output_metadata(metadata)


def _table(results: list[Result]) -> dict[str, dg.MetadataValue]:
    rows = []
    for result in results[:SHOWN]:
        before, after = plain_pair(*result.draft.shown, VALUE_WIDTH)
        cells = {"origin": result.draft.origin, "before": before, "after": after, "state": result.state.value}
        rows.append(dg.TableRecord({**cells, "verdict": plain(result.detail or result.draft.verdict, REASON_WIDTH)}))
    return {"dead_letters": dg.MetadataValue.table(rows)} if rows else {}


@dg.job(
    description="Replays dead letters: choose a domain, a reason or origins, and a fix; look at the dry run; then launch again "
    "without dry_run.",
    # The launchpad shows this configuration.
    config=dg.RunConfig({"replay_open_dead_letters": ReplayConfig()}),
)
def replay_dead_letters() -> None:
    replay_open_dead_letters()


definitions = dg.Definitions(assets=[dead_letters], jobs=[replay_dead_letters])
