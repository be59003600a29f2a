"""Draft a recipe for a folder nobody has described: what its files look like, each guess marked as a guess."""

from __future__ import annotations

from humanst.curate.draft import Proposal, propose
from humanst.curate.records import Draft

__all__ = ["Draft", "Proposal", "propose"]
