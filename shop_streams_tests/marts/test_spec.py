"""What a mart's specification tells its functions."""

import pytest

from shop_streams.marts.spec import Computation
from shop_streams.settings import Settings


def test_a_computation_of_several_partitions_has_no_only_key() -> None:
    assert Computation(("2026-01-01",), 3, Settings()).key == "2026-01-01"
    with pytest.raises(ValueError, match="too many values"):
        _ = Computation(("2026-01-01", "2026-01-02"), 3, Settings()).key
