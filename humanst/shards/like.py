"""Sections built like another release: its parameters, splits, groups and labels, so that every pair is the same.

What may not be passed on leaves an exported release with its hashes. Whoever may have the sources builds it again, and
both together are the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import DataError, UsageError
from humanst.files import parse_json
from humanst.findings import Finding, Findings
from humanst.pathways import PathwayChoice
from humanst.schemas import check_document
from humanst.shards.folder import MANIFEST
from humanst.shards.recipe_only import HASH_COLUMNS, hashes_of
from humanst.shards.spec import RELEASE_SCHEMA, ReleaseSpec
from humanst.splits import Assignment
from humanst.tiles import PatchSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LikeSection:
    """Where a section is in the other release.

    Attributes
    ----------
    hashes
        What its pairs are known by (:func:`humanst.shards.recipe_only.hashes_of`), when it is recipe-only there.
    """

    split: str
    group: str
    pairs: int
    hashes: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Like:
    """What a build takes from the manifest of another release.

    Attributes
    ----------
    spec
        ``version``, ``patch``, ``seed``, ``shard_pairs``, ``shares``, ``assigned``, and ``gene_sets`` with ``name``,
        ``sha256`` and, if they are not the default, ``options``.
    organs
        Organ -> label.
    sections
        By sample_id: those with pairs there, and those that are recipe-only.
    """

    manifest_sha256: str
    spec: Mapping[str, Any]
    organs: Mapping[str, int]
    codecs: Mapping[str, str]
    sections: Mapping[str, LikeSection]

    @property
    def recipe_only(self) -> frozenset[str]:
        """Sections of which the other release holds no pairs."""
        return frozenset(name for name, section in self.sections.items() if section.hashes is not None)

    def choice(self) -> PathwayChoice:
        """How its pathways are made of the gene sets.

        Raises
        ------
        DataError
            ``pathway-options`` when this version of humanst does not know how.
        """
        return PathwayChoice.of_record(self.spec["gene_sets"].get("options", {}))

    def release_spec(self, gene_sets_path: Path, gene_sets_sha256: str) -> ReleaseSpec:
        """The parameters, with the gene sets of this machine.

        Raises
        ------
        UsageError
            ``other-gene-sets`` when they are not those of the release.
        """
        wanted = self.spec["gene_sets"]
        if gene_sets_sha256 != wanted["sha256"]:
            raise UsageError(
                "These are not the gene sets of that release",
                code="other-gene-sets",
                file=gene_sets_path.name,
                field="--gene-sets",
                expected=f"{wanted['name']}, sha256 {wanted['sha256']}",
                found=gene_sets_sha256,
                done="Nothing was written",
            )
        return ReleaseSpec(
            version=self.spec["version"],
            gene_sets_path=gene_sets_path,
            gene_sets_name=wanted["name"],
            gene_sets_sha256=gene_sets_sha256,
            patch=PatchSpec(**self.spec["patch"]),
            assigned=tuple(sorted(self.spec["assigned"].items())),
            shares=tuple(self.spec["shares"]),
            shard_pairs=self.spec["shard_pairs"],
            seed=self.spec["seed"],
            choice=self.choice(),
        )

    def assignment(self, sample_ids: Iterable[str]) -> Assignment:
        """Groups and splits of sections as they are in the other release.

        Raises
        ------
        UsageError
            ``not-in-release`` for a section that it does not name.
        """
        asked = sorted(sample_ids)
        if strangers := [name for name in asked if name not in self.sections]:
            raise UsageError(
                "These sections are not in that release, so nothing says where they go",
                code="not-in-release",
                section=strangers[0],
                field="--like",
                expected=f"sections of its manifest, such as {', '.join(sorted(self.sections)[:4])}",
                found=", ".join(strangers[:4]),
                done="Nothing was written",
            )
        return Assignment(
            {name: self.sections[name].group for name in asked}, {name: self.sections[name].split for name in asked}
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data, for ``plan.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Like:
        """Read back what :meth:`to_dict` gave."""
        sections = {name: LikeSection(**row) for name, row in content["sections"].items()}
        return cls(**{**content, "sections": sections})


def read_like(release: Path) -> Like:
    """Read what a build takes from a release: its folder, or its manifest alone.

    Raises
    ------
    UsageError
        ``no-manifest`` when there is none.
    DataError
        ``manifest-invalid`` when it breaks its schema, or holds too little to build like it.
    """
    path = release / MANIFEST if release.is_dir() else release
    try:
        text = path.read_bytes()
        manifest = parse_json(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            "This is no manifest of a release", code="no-manifest", file=path.name, field="--like", found=str(error)
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != RELEASE_SCHEMA:
        raise UsageError(
            "This is no manifest of a release",
            code="no-manifest",
            file=path.name,
            field="--like",
            expected=RELEASE_SCHEMA,
            found=manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__,
        )
    findings = Findings(file=path.name)
    check_document(manifest, "manifest", findings)
    findings.raise_if_refused()
    keys = ("version", "patch", "seed", "shard_pairs", "shares", "assigned")
    if missing := [key for key in (*keys, "codecs") if key not in manifest]:
        raise DataError(
            "This manifest does not say all that a build needs",
            code="manifest-invalid",
            file=path.name,
            expected=", ".join(missing),
            found="none of it",
        )
    pathways = manifest["pathways"]
    return Like(
        manifest_sha256=hashlib.sha256(text).hexdigest(),
        spec={key: manifest[key] for key in keys}
        | {"gene_sets": {"name": pathways["set"], "sha256": pathways["sha256"], **_options(pathways)}},
        organs=manifest["organs"],
        codecs=manifest["codecs"],
        sections={
            row["sample_id"]: LikeSection(row["split"], row["group"], row["pairs"], row.get("hashes"))
            for row in (*manifest["sections"], *manifest.get("recipe_only", []))
        },
    )


def _options(pathways: Mapping[str, Any]) -> dict[str, Any]:
    return {"options": pathways["options"]} if "options" in pathways else {}


def check_rebuilt(like: Like, index: pa.Table, codecs: Mapping[str, str]) -> list[Finding]:
    """Compare the pairs that were built with what the other release says of them.

    Parameters
    ----------
    index
        Rows of all splits, with the columns of :func:`humanst.shards.recipe_only.hashes_of`.
    codecs
        That encoded the patches here.

    Returns
    -------
    list of Finding
        A warning for each section whose members are not the same bytes.

    Raises
    ------
    DataError
        ``rebuilt-differs`` when a section's pairs or targets are others.
    """
    findings = Findings()
    for name in sorted(set(index["sample_id"].unique().to_pylist()) & like.recipe_only):
        expected = like.sections[name].hashes or {}
        found = hashes_of(index, name)
        different = [kind for kind in ("uids", "targets") if found[kind] != expected[kind]]
        if different:
            findings.refuse(
                "rebuilt-differs",
                f"The {' and the '.join(different)} of this section are not those of that release",
                section=name,
                expected=f"{like.sections[name].pairs} pairs, sha256 {expected[different[0]]}",
                found=f"{index['sample_id'].to_pylist().count(name)} pairs, sha256 {found[different[0]]}",
                done="The release was not written",
                todo="Build with the sources, thresholds and options that the release was built with",
            )
        elif found["members"] != expected["members"]:
            findings.warn(
                "members-differ",
                "Patches or records of this section are not the bytes of that release; pairs and targets are",
                section=name,
                expected=f"codecs {_versions(like.codecs)}",
                found=f"codecs {_versions(codecs)}",
            )
    findings.raise_if_refused()
    return list(findings)


def _versions(codecs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(codecs.items()))


def index_of(parts: Sequence[Path]) -> pa.Table:
    """The rows of several parts of an index, as far as :func:`check_rebuilt` reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables([pq.read_table(path, columns=list(HASH_COLUMNS)) for path in parts])
