"""Which sections a command means: study ids or folders with a recipe, ``--sections``, ``--where``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from humanst.errors import UsageError

if TYPE_CHECKING:
    from humanst.catalog import Catalog, Section, Study

Command = TypeVar("Command", bound=Callable[..., Any])


def section_options(command: Command) -> Command:
    """``--sections`` and ``--where``, as on every command that takes sections."""
    command = click.option("--sections", help="Only these sections, comma-separated (ids as in the study).")(command)
    return click.option("--where", help="Only sections for which this holds, as organ == 'breast' and license != ...")(
        command
    )


recipe_option = click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False),
    help="recipe.yaml for folders that are in no catalog; `humanst curate propose FOLDER` drafts one.",
)
pool_like_option = click.option(
    "--pool-like",
    type=click.Choice(["visium"]),
    help="Pool transcripts and bins to the side nearest to a Visium spot (Xenium 55, Visium HD 56 or 64 um) instead of "
    "the recipe's [default: 112 um, the patch].",
)
QC_OPTIONS = ("min_counts", "min_genes", "max_mt_fraction")


def qc_options(command: Command) -> Command:
    """The thresholds of spot QC, as on every command that builds section stores."""
    for name, kind, text in (
        ("--max-mt-fraction", click.FloatRange(0, 1), "Flag spots above this mitochondrial share [default: 0.3]."),
        ("--min-genes", click.IntRange(min=0), "Drop spots with fewer detected genes [default: 100; targeted: 0]."),
        ("--min-counts", click.IntRange(min=0), "Drop spots with fewer transcripts [default: 200; targeted: 30]."),
    ):
        command = click.option(name, type=kind, help=text)(command)
    return command


def qc_overrides(options: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """The thresholds that were given."""
    return tuple((name, options[name]) for name in QC_OPTIONS if options.get(name) is not None)


def require_one_section(tissue: str | None, pairs: Sequence[object]) -> None:
    """Refuse an outline that would go to several sections."""
    if tissue and len(pairs) != 1:
        raise UsageError(
            "--tissue is the outline of one section",
            field="--tissue",
            expected="one section",
            found=f"{len(pairs)} sections",
            todo="Name the section with --sections",
        )


def open_catalog(path: str | None) -> Catalog:
    """The catalog a command works on."""
    from pathlib import Path

    from humanst.catalog import load_catalog

    return load_catalog(Path(path) if path else None)


def section_row(study: Study, section: Section) -> dict[str, Any]:
    """One section as the columns that ``--where`` and ``humanst list`` know."""
    row: dict[str, Any] = dict(section.metadata)
    row |= {
        "study_id": study.study_id,
        "section_id": section.section_id,
        "sample_id": section.sample_id,
        "platform": study.platform,
        "license": study.license,
        "redistributable": study.may_pass_on(section),
        "status": section.status,
        "has_image": study.has_image(section),
        "bytes": sum(source.bytes or 0 for source in section.sources),
        "unpinned_files": sum(not source.pinned for source in section.sources),
        "unknown_sizes": sum(source.bytes is None for source in section.sources),
    }
    return row


def choose_sections(
    catalog: Catalog, studies: Sequence[str], sections: str | None, where: str | None, *, recipe: str | None = None
) -> list[tuple[Study, Section]]:
    """Resolve a command's choice, in catalog order.

    Parameters
    ----------
    studies
        Ids of catalog studies and, with ``recipe``, folders. A path with a slash is never an id.
    recipe
        Path of the recipe that says how to read the folders.

    Raises
    ------
    UsageError
        For an id that is not in the catalog, a folder without a recipe, a recipe without a folder, two things of one
        name, or a choice that leaves nothing.
    DataError
        When the recipe breaks its schema.
    """
    chosen = chosen_studies(catalog, studies, recipe)
    pairs = [(study, section) for study in chosen for section in study.sections]
    if sections is not None:
        wanted = [name.strip() for name in sections.split(",") if name.strip()]
        if not wanted:
            raise _blank("--sections", "section ids, comma-separated")
        known = {name for _, section in pairs for name in (section.section_id, section.sample_id)}
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UsageError(
                f"No section {', '.join(unknown)}",
                study=",".join(studies) or None,
                field="--sections",
                expected="section ids such as " + ", ".join(section.section_id for _, section in pairs[:6]),
                found=sections,
                todo="`humanst list STUDY` prints them",
            )
        pairs = [(study, section) for study, section in pairs if {section.section_id, section.sample_id} & set(wanted)]
    if where is not None:
        if not where.strip():
            raise _blank("--where", "a condition, such as organ == 'breast'")
        pairs = _matching(pairs, where)
    if not pairs:
        found = "none" if where is None else where if len(where) <= 200 else f"{where[:200]}..."
        raise UsageError("No section is left", field="--where", expected="at least one section", found=found)
    return pairs


def _blank(option: str, expected: str) -> UsageError:
    """An option that is there and empty, as an unset variable of a script makes it, means nothing: least of all all."""
    return UsageError(
        f"{option} is empty", field=option, expected=expected, found="nothing", todo=f"Leave {option} out"
    )


def chosen_studies(catalog: Catalog, names: Sequence[str], recipe: str | None) -> list[Study]:
    """The studies of a command's arguments: all of the catalog without any, folders read by ``recipe``.

    The name of a curation folder that several studies share stands for all of them.
    """
    from pathlib import Path

    from humanst.catalog import load_recipe

    rule = load_recipe(Path(recipe)) if recipe else None
    shared = catalog.folders()
    is_folder = [name not in {*catalog.studies, *shared} and Path(name).is_dir() for name in names]
    if rule and not any(is_folder):
        raise _recipe_without_folder(names)
    if not names:
        return list(catalog.studies.values())
    studies: list[Study] = []
    for name, folder in dict(zip(names, is_folder, strict=True)).items():
        if folder and rule is None:
            raise UsageError(
                "This folder is in no catalog, and nothing says how to read it",
                code="no-recipe",
                file=name,
                expected="--recipe recipe.yaml",
                found="a folder without one",
                todo=f"`humanst curate propose {name} -o recipe.yaml` drafts a recipe; read it, then give it",
            )
        if folder and rule:
            from humanst.builder.folders import study_from_folder  # needs numpy, which a listing does without

            studies.append(study_from_folder(Path(name), rule, taken=catalog.studies))
        else:
            studies.extend(shared[name] if name in shared else [catalog.study(name)])
    studies = list({id(study): study for study in studies}.values())
    if any(is_folder):
        from humanst.builder.folders import same_ids

        same_ids(studies)
    return studies


def _recipe_without_folder(names: Sequence[str]) -> UsageError:
    from pathlib import Path

    twin = next((name for name in names if Path(name).is_dir()), None)
    if twin is not None:
        return UsageError(
            "This is a study of the catalog and a folder, and a bare name means the study",
            code="folder-or-study",
            file=twin,
            field="--recipe",
            expected="a folder spelled with a slash",
            found=twin,
            todo=f"Write ./{twin} for the folder, or leave --recipe out for the study",
        )
    return UsageError(
        "A recipe says how to read folders, and none is given",
        field="--recipe",
        expected="a folder as argument",
        found=", ".join(names) or "nothing",
    )


def on_record(catalog: Catalog, pairs: Sequence[tuple[Study, Section]]) -> list[Study]:
    """All studies whose sections may be related to the chosen ones: the catalog's, and the folders in whole."""
    folders = {study.study_id: study for study, _ in pairs if study.study_id not in catalog.studies}
    return [*catalog.studies.values(), *folders.values()]


def _matching(pairs: list[tuple[Study, Section]], where: str) -> list[tuple[Study, Section]]:
    from humanst.select import compile_where

    rows = [section_row(study, section) for study, section in pairs]
    condition = compile_where(where, sorted(rows[0]) if rows else [])
    return [pair for pair, row in zip(pairs, rows, strict=True) if condition.matches(row)]
