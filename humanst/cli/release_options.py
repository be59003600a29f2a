"""What ``plan`` and ``build-shards`` share: which sections, with which parameters, and the request made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from humanst.cli.choose import (
    choose_sections,
    on_record,
    pool_like_option,
    qc_options,
    qc_overrides,
    recipe_option,
    require_one_section,
    section_options,
)
from humanst.cli.gate import Gate, gate_sections, license_option
from humanst.cli.gene_set_files import gene_sets, target_sets
from humanst.cli.leaving_out import without_groups, without_superseded
from humanst.cli.like_option import like_of, like_option, recipe_only
from humanst.cli.pathway_options import NAMES, choice_of, pathway_options, shuffle_option

if TYPE_CHECKING:
    from humanst.catalog import Catalog
    from humanst.shards.like import Like
    from humanst.shards.request import ReleaseRequest
    from humanst.shards.spec import ReleaseSpec

Command = TypeVar("Command", bound=Callable[..., Any])

_PARAMETERS = (
    click.option(
        "--sets",
        "--gene-sets",
        "gene_sets",
        help="A GMT file or a table of weights (TSV), or one on record: hallmark, reactome, progeny or a file of the "
        "resource gene_sets [default: the catalog's default].",
    ),
    click.option(
        "--assign",
        type=click.Path(exists=True, dir_okay=False),
        help="CSV with donor_id (or sample_id) and split: overrides the hash for those groups.",
    ),
    click.option(
        "--exclude-group",
        multiple=True,
        metavar="NAME",
        help="Leave out the sections of this exclusion group (hest_bench, her2st, ...) and all joined to them; "
        "comma-separated or repeated.",
    ),
    click.option("--release-version", default="0.1.0", show_default=True, help="Version written into the manifest."),
    click.option("--seed", default=0, show_default=True, help="Goes into the order of pairs."),
    click.option(
        "--shard-pairs", type=click.IntRange(min=1), default=4096, show_default=True, help="Pairs in a full shard."
    ),
    click.option(
        "--tissue",
        type=click.Path(exists=True, dir_okay=False),
        help="GeoJSON outline of one section's tissue in level-0 pixels, instead of the optical-density mask.",
    ),
    click.option(
        "--with-images",
        "--embed-image",
        "embed_image",
        is_flag=True,
        help="Stores carry the image from max(native, 0.5) um/px down, not from 2.",
    ),
    click.option("--pin", is_flag=True, help="Take files that have no hash on record, writing theirs to a lock file."),
    click.option(
        "--min-tissue-fraction",
        type=click.FloatRange(0, 1),
        default=0.15,
        show_default=True,
        help="Drop patches with less tissue than this share.",
    ),
    like_option,
    click.option(
        "--targets",
        metavar="SETS",
        help="Further target sets: counts, hvg:N, pca:K, random:SEED, shuffle:SEED, NAME=FILE; several with commas.",
    ),
    click.option(
        "--reliability",
        is_flag=True,
        help="Measure the reliability of every pathway on the training sections, and freeze weights into the release.",
    ),
    shuffle_option,
    license_option,
    pool_like_option,
    qc_options,
)
# What a plan holds, by parameter name: with --plan they cannot be given again.
PLANNED = (
    "studies",
    "recipe",
    "sections",
    "where",
    "gene_sets",
    *NAMES,
    "shuffle_pairs",
    "assign",
    "exclude_group",
    "release_version",
    "seed",
    "shard_pairs",
    "tissue",
    "embed_image",
    "pin",
    "min_tissue_fraction",
    "targets",
    "reliability",
    "pool_like",
    "like",
    "min_counts",
    "min_genes",
    "max_mt_fraction",
)


def release_options(command: Command) -> Command:
    """Sections and parameters of a release, as on every command that plans one."""
    for option in reversed(_PARAMETERS):
        command = option(command)
    command = pathway_options(command)
    command = section_options(command)
    command = recipe_option(command)
    return click.argument("studies", metavar="[STUDY | FOLDER]...", nargs=-1)(command)


def new_request(
    book: Catalog, options: dict[str, Any], *, release: Path, work: Path, may_ask: bool
) -> tuple[ReleaseRequest, int, Gate]:
    """The request that the options ask for.

    Returns
    -------
    request
        For the sections that the licence gate lets through.
    n_asked
        How many were asked for.
    gate
        What it refused.
    """
    from humanst.shards.grouping import Chosen
    from humanst.shards.request import ReleaseRequest

    like = like_of(options)
    asked = choose_sections(book, options["studies"], options["sections"], options["where"], recipe=options["recipe"])
    if like is not None and options["sections"] is None and options["where"] is None:
        asked = recipe_only(like, asked)
    asked = without_superseded(asked, named=options["sections"] is not None)
    labels = tuple(sorted({name.strip() for text in options["exclude_group"] for name in text.split(",")}))
    if labels:
        asked = without_groups(book, asked, labels)
    require_one_section(options["tissue"], asked)
    pairs, gate = gate_sections(book, asked, options["accept"], may_ask=may_ask)
    spec = release_spec(book, options, accept=options["accept"], may_ask=may_ask, like=like)
    request = ReleaseRequest(
        chosen=tuple(Chosen(study, section) for study, section in pairs),
        related=tuple(Chosen(study, section) for study in on_record(book, pairs) for section in study.sections),
        release=release,
        work=work,
        spec=spec,
        pin=options["pin"],
        embed_image=options["embed_image"],
        tissue=Path(options["tissue"]) if options["tissue"] else None,
        pool_like=options["pool_like"],
        qc=qc_overrides(options),
        accepted=gate.accepted,
        like=like,
        excluded=labels,
        recipe=Path(options["recipe"]) if options["recipe"] else None,
        targets=target_sets(options["targets"], choice=spec.choice, own=lambda: spec.gene_sets_path),
        reliability=options["reliability"],
    )
    return request, len(asked), gate


def planned_request(
    book: Catalog, content: dict[str, Any], accept: Sequence[str], *, release: Path, work: Path, may_ask: bool
) -> ReleaseRequest:
    """The request that a plan holds; its licences have to be accepted by whoever carries it out.

    Raises
    ------
    LicenseError
        When one of them is not.
    UsageError
        ``plan-outdated`` when the catalog is not the one it was made from.
    """
    from humanst.builder.folders import study_from_folder
    from humanst.catalog import load_recipe
    from humanst.shards.like import Like
    from humanst.shards.plan import check_current, chosen_of
    from humanst.shards.plan_file import plan_of, spec_of, targets_of
    from humanst.shards.request import ReleaseRequest

    plan, build = plan_of(content), content["build"]
    studies = dict(book.studies)
    recipe = Path(content["recipe"]) if content["recipe"] else None
    if recipe is not None:
        found = (study_from_folder(Path(name), load_recipe(recipe), taken=book.studies) for name in content["folders"])
        studies |= {study.study_id: study for study in found}
    chosen = chosen_of(plan, studies)
    _, gate = gate_sections(book, [(item.study, item.section) for item in chosen], accept, may_ask=may_ask)
    if gate.failures:
        raise gate.failures[0][1]
    request = ReleaseRequest(
        chosen=chosen,
        release=release,
        work=work,
        spec=spec_of(content),
        pin=build["pin"],
        embed_image=build["embed_image"],
        tissue=Path(build["tissue"]) if build["tissue"] else None,
        pool_like=build["pool_like"],
        qc=tuple(build["qc"].items()),
        accepted=tuple((name, tuple(studies)) for name, studies in content["accepted_licenses"].items()),
        recipe=recipe,
        like=None if content["like"] is None else Like.from_dict(content["like"]),
        targets=targets_of(content),
        reliability=bool(content.get("reliability", False)),
    )
    check_current(plan, request)
    return request


def release_spec(
    book: Catalog,
    options: dict[str, Any],
    *,
    accept: Sequence[str] = (),
    may_ask: bool = False,
    like: Like | None = None,
) -> ReleaseSpec:
    """The release's parameters from the command's options; fetches the gene sets, if their licence is accepted."""
    from humanst.files import sha256_file
    from humanst.shards.spec import ReleaseSpec
    from humanst.splits import read_assignment
    from humanst.tiles import PatchSpec

    wanted = options["gene_sets"] or (like.spec["gene_sets"]["name"] if like else None)
    path, name = gene_sets(book, wanted, pin=options["pin"], accept=accept, may_ask=may_ask)
    if like is not None:
        return like.release_spec(path, sha256_file(path))
    choice = choice_of(options)
    choice.check_file(path)
    assigned = read_assignment(Path(options["assign"])) if options["assign"] else {}
    return ReleaseSpec(
        version=options["release_version"],
        gene_sets_path=path,
        gene_sets_name=name,
        gene_sets_sha256=sha256_file(path),
        patch=PatchSpec(min_tissue_fraction=options["min_tissue_fraction"]),
        assigned=tuple(sorted(assigned.items())),
        shard_pairs=options["shard_pairs"],
        seed=options["seed"],
        choice=choice,
    )
