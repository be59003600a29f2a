"""Files of gene sets that commands are given: a local one, or one on record; and the target sets made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.cli.gate import pass_gate
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

    if asked and Path(asked).is_file():
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


def own_gene_sets(book: Catalog, pathways: Mapping[str, Any], given: str | None) -> Path:
    """The file of the gene sets that a release was built with.

    Parameters
    ----------
    pathways
        Of its manifest.
    given
        A file that the user says it is; else the one of that name on record.

    Raises
    ------
    UsageError
        ``other-gene-sets`` when it is another file.
    """
    from humanst.files import sha256_file

    path, _ = gene_sets(book, given or str(pathways["set"]), pin=False)
    if (found := sha256_file(path)) != pathways["sha256"]:
        raise UsageError(
            "These are not the gene sets of that release",
            code="other-gene-sets",
            file=path.name,
            field="--gene-sets",
            expected=f"{pathways['set']}, sha256 {pathways['sha256']}",
            found=found,
            done="Nothing was written",
        )
    return path
