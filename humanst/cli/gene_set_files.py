"""Files of gene sets that commands are given: a local one, or one on record; and the target sets made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.cli.gate import pass_gate
from humanst.cli.output import say
from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Catalog
    from humanst.pathways import PathwayChoice
    from humanst.shards.target_sets import TargetSet


def gene_sets(
    book: Catalog, asked: str | None, *, pin: bool, accept: Sequence[str] = (), may_ask: bool = False
) -> tuple[Path, str]:
    """The file and its name: a local file, or a file of the resource ``gene_sets``, through the licence gate."""
    from humanst.catalog import Item
    from humanst.fetch import fetch_resource
    from humanst.pathways.gene_sets import require_name

    if asked and Path(asked).is_file():
        require_name(Path(asked))
        return Path(asked), Path(asked).name
    if asked and asked.startswith("random:"):
        raise UsageError(
            "Random gene sets are matched to the expression of a release's training sections, which nobody read yet",
            field="--sets",
            expected="gene sets that do not depend on the sections",
            found=asked,
            done="Nothing was written",
            todo=f"Build with the gene sets, then `humanst add-targets RELEASE --set {asked}`: its sets.gmt can be "
            "given to --sets",
        )
    resource = book.resources.get("gene_sets")
    known = [source.path for source in resource.sources] if resource else []
    aliases = dict(resource.aliases) if resource else {}
    name = aliases.get(asked or "", asked) or (resource.default if resource else "")
    if resource is None or name not in known:
        raise UsageError(
            "No such gene sets",
            field="--sets",
            expected=f"a file of gene sets, or one of {', '.join([*aliases, *known]) or 'no catalogued files'}",
            found=repr(asked),
        )
    licenses = resource.licenses(resource.source(name))
    pass_gate([Item(f"{resource.resource_id}/{name}", resource.resource_id, licenses)], accept, may_ask=may_ask)
    return fetch_resource(resource, name, pin=pin), name


def target_sets(
    asked: str | None,
    gmt: str | None = None,
    *,
    choice: PathwayChoice | None = None,
    own: Callable[[], Path] | None = None,
) -> tuple[TargetSet, ...]:
    """The target sets of a comma-separated list; none without one.

    Parameters
    ----------
    own
        Gives the file of the release's own gene sets, where it is needed.

    Raises
    ------
    UsageError
        For a name that is none.
    """
    from humanst.shards.target_sets import needs_own_sets, parse_sets

    if asked is None:
        return ()
    names = [name.strip() for name in asked.split(",")]
    path = own() if own is not None and gmt is None and needs_own_sets(names) else None
    return parse_sets(names, Path(gmt) if gmt else None, choice=choice, own=path)


def own_gene_sets(
    book: Catalog,
    release: Path,
    pathways: Mapping[str, Any],
    given: str | None,
    *,
    accept: Sequence[str] = (),
    may_ask: bool = False,
) -> Path:
    """The file of the gene sets that a release was built with.

    Without ``given`` it is one of that name and hash beside the release, else that on record, through the licence gate.

    Parameters
    ----------
    release, pathways
        Its folder, and what its manifest says of its pathways.
    given
        A file that the user says it is.

    Raises
    ------
    UsageError
        ``no-gene-sets`` when there is none, ``other-gene-sets`` when it is another file.
    LicenseError
        When a licence of the file on record is not accepted.
    """
    from humanst.files import sha256_file

    wanted = f"{pathways['set']}, sha256 {pathways['sha256']}"
    todo = f"Say --gene-sets FILE with the {pathways['set']} that the release was built with"
    if given is None:
        for path in _beside(release, str(pathways["set"])):
            if sha256_file(path) == pathways["sha256"]:
                return path
        if not is_on_record(book, str(pathways["set"])):
            raise UsageError(
                "The gene sets of the release are neither on record nor beside it",
                code="no-gene-sets",
                field="--gene-sets",
                expected=wanted,
                found="no such file",
                done="Nothing was written",
                todo=todo,
            )
    path, _ = gene_sets(book, given or str(pathways["set"]), pin=False, accept=accept, may_ask=may_ask)
    if (found := sha256_file(path)) != pathways["sha256"]:
        raise UsageError(
            "These are not the gene sets of that release",
            code="other-gene-sets",
            file=path.name,
            field="--gene-sets",
            expected=wanted,
            found=found,
            done="Nothing was written",
            todo=todo,
        )
    return path


def is_on_record(book: Catalog, name: str) -> bool:
    """Whether the catalog has gene sets of this name or short name."""
    resource = book.resources.get("gene_sets")
    return resource is not None and name in {*resource.aliases, *(source.path for source in resource.sources)}


def _beside(release: Path, name: str) -> list[Path]:
    """Where the file of a release's gene sets may be: next to it, or where ``humanst demo`` leaves its own."""
    if Path(name).name != name:
        return []
    folders = (release.parent, release.parent / "atlas" / "mirror" / "gene_sets")
    return [folder / name for folder in folders if (folder / name).is_file()]


def say_sets(name: str, record: Mapping[str, Any], whole: str) -> None:
    """Tell on stderr what of the gene sets of a file is not scored as it stands there.

    Parameters
    ----------
    record
        ``left_out``, ``unmapped`` and ``repeated``, as far as there are any: what the manifest says of them.
    whole
        Where all of it is.
    """
    left_out, repeated = record.get("left_out", {}), record.get("repeated", {})
    lost = sorted({symbol for symbols in record.get("unmapped", {}).values() for symbol in symbols})
    twice = sorted({symbol for symbols in repeated.values() for symbol in symbols})
    told = (
        ("left_out", left_out, "gene sets are left out by size", [f"{key} ({n})" for key, n in left_out.items()]),
        ("unmapped", lost, "symbols stand for no gene and count as not measured", lost),
        ("repeated", twice, "symbols are in a gene set more than once and count once", twice),
    )
    for key, items, what, shown in told:
        if items:
            say(f"{name}: {len(items):,} {what}: {first_of(shown)}; all are in {key} {whole}")


def first_of(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
