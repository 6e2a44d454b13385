"""100,000 simulated rows through the whole chain, three seeds, depths of 5, 30 and all dates: events and marts equal the oracle.

python -m shop_streams_tests.defs.community.whole_chain          some 20 minutes
python -m shop_streams_tests.defs.community.whole_chain --rows 20000 --seeds 7
"""

import argparse
from datetime import UTC, date, datetime, timedelta

from rich.console import Console

from shop_streams.defs.community.stg_source import INITIAL_LOAD
from shop_streams.lake.reader import Lake
from shop_streams.simulate import community
from shop_streams_tests.defs.community.test_on_the_stack import Oracle
from shop_streams_tests.harness import running_stack

console = Console()
DAYS, COMPARED_EVERY = 40, 6  # a mart of each sixth date is compared, and that of the last


def differences(seed: int, depth: int, rows: int) -> list[str]:
    """What differs from the oracle after a first load, in words."""
    first = datetime.now(UTC).date() - timedelta(days=DAYS)
    dates: list[date] = [first + timedelta(days=number) for number in range(DAYS)]
    with running_stack(COMMUNITY_DEPTH_DAYS=str(depth)) as stack:
        community.days_of(stack.settings, rows, seed, first, DAYS)
        stack.run_job(INITIAL_LOAD, seconds=1800)
        return Oracle(stack).differences(Lake(stack.settings), dates[::-COMPARED_EVERY], depth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    wrong = {}
    for number, seed in enumerate(options.seeds):
        depth = (30, 5, 0)[number % 3]
        found = differences(seed, depth, options.rows)
        console.print(f"seed {seed}, depth {depth or 'full'}: {found or 'equal'}")
        if found:
            wrong[seed] = found
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
