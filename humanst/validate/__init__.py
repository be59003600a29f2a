"""Every check over a section or a store, all findings at once. Nothing is mended and nothing is written."""

from __future__ import annotations

from humanst.validate.report import SEVERITIES, Report
from humanst.validate.section import validate_section
from humanst.validate.spatial import check_spatialdata

__all__ = ["SEVERITIES", "Report", "check_spatialdata", "validate_section"]
