"""A finished release that lies in the output folder already: the same again, or another that is replaced."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanst.files import parse_json
from humanst.shards.extract import Extracted
from humanst.shards.pack import SectionFacts
from humanst.shards.spec import ReleaseSpec
from humanst.shards.target_sets import TargetSet

logger = logging.getLogger(__name__)

_SPEC = ("version", "patch", "seed", "shard_pairs", "shares", "assigned")


class Earlier:
    """The manifest as it was before this build; read it before the manifest is removed.

    Parameters
    ----------
    manifest
        Path of ``MANIFEST.json``, there or not.
    """

    def __init__(self, manifest: Path) -> None:
        self._path = manifest
        self._bytes = manifest.read_bytes() if manifest.is_file() else None

    def tell_replaced(
        self,
        spec: ReleaseSpec,
        extracts: Sequence[Extracted],
        facts: Mapping[str, SectionFacts],
        targets: Sequence[TargetSet] = (),
        *,
        reliability: bool = False,
    ) -> None:
        """Warn, before anything of it goes, where another release is about to be replaced."""
        if self._bytes is None:
            return
        before = _content(self._bytes)
        said = ["its manifest, which cannot be read"]
        if before:
            said = _differences(before, spec, extracts, facts)
            lost = sorted(before.get("targets", {}).keys() - {one.name for one in targets})
            said += [f"the target sets {', '.join(lost)}, which were not asked for"] if lost else []
            if "reliability" in before and not reliability:
                said.append("the reliability weights, which were not asked for")
        if said:
            pairs = before.get("totals", {}).get("pairs", "unknown")
            logger.warning(
                "%s: the finished release there (%s pairs) is replaced by another; not as before: %s",
                self._path.parent.name,
                pairs,
                ", ".join(said),
            )

    def is_of(self, spec: ReleaseSpec, extracts: Sequence[Extracted], facts: Mapping[str, SectionFacts]) -> bool:
        """Whether it is the release of this request, as far as its manifest says."""
        before = _content(self._bytes) if self._bytes else {}
        return bool(before) and not _differences(before, spec, extracts, facts)

    def compared(self) -> str:
        """``none``, ``same`` or ``other``: what was there, against the manifest that is there now."""
        if self._bytes is None:
            return "none"
        return "same" if self._path.read_bytes() == self._bytes else "other"


def _content(manifest: bytes) -> dict[str, Any]:
    try:
        content = parse_json(manifest)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _differences(
    before: Mapping[str, Any], spec: ReleaseSpec, extracts: Sequence[Extracted], facts: Mapping[str, SectionFacts]
) -> list[str]:
    """What an earlier release and this request do not share, in words; empty for the same request."""
    wanted = json.loads(json.dumps(spec.to_dict()))
    said = [name for name in _SPEC if before.get(name) != wanted[name]]
    pathways = before.get("pathways", {})
    if (pathways.get("set"), pathways.get("sha256")) != (spec.gene_sets_name, spec.gene_sets_sha256):
        said.append("gene sets")
    if pathways.get("options", {}) != json.loads(json.dumps(spec.choice.record())):
        said.append("options of the pathways")
    rows = {str(row.get("sample_id")): row for row in before.get("sections", [])}
    now = {extract.sample_id: extract for extract in extracts}
    both = sorted(rows.keys() & now.keys())
    moved = [(rows[n].get("split"), rows[n].get("group")) != (facts[n].split, facts[n].donor_group) for n in both]
    counted = {
        "sections fewer": len(rows.keys() - now.keys()),
        "sections more": len(now.keys() - rows.keys()),
        "sections with other contents": sum(rows[n].get("extract_inputs") != now[n].card["inputs"] for n in both),
        "sections in another split or group": sum(moved),
    }
    return said + [f"{n} {what}" for what, n in counted.items() if n]
