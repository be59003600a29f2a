"""The small atlas and its release of the tests of shards."""

from tests.shards.conftest import made

__all__ = ["made"]
