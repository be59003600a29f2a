"""The small atlas and its release of the tests of shards, and their full disk."""

from tests.shards.conftest import humanst_here, made
from tests.shards.test_no_room import earlier, full_disk

__all__ = ["earlier", "full_disk", "humanst_here", "made"]
