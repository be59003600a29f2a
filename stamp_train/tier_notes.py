"""What a table of a tier may not lose: leakage, donors too few for an interval, pairs left out, other gene sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanst.errors import IntegrityError
from humanst.files import sha256_file
from stamp_train.bootstrap import MIN_DONORS, TOO_FEW
from stamp_train.guard import check_leakage
from stamp_train.run_facts import release_sha256

if TYPE_CHECKING:
    from humanst.load.release import Release
    from stamp_train.features import Embeddings
    from stamp_train.tiers import Probed

TRAIN_SPLIT = "train"


def leakage_notes(
    release: Release,
    sections: Sequence[str],
    embeddings: Mapping[str, Embeddings],
    *,
    trained_on: str | Path | Release | None = None,
) -> list[str]:
    """What a table has to say of models whose adapters may have seen what they are tested on.

    Parameters
    ----------
    release, sections
        What is tested on: the release and the ``sample_id`` of its sections.
    embeddings
        Name of a model -> its embeddings, whose ``facts`` say of an adapter what it was trained on.
    trained_on
        The release that it was trained on, when it is another.

    Raises
    ------
    IntegrityError
        When ``trained_on`` is not the release on record.
    """
    from humanst.load import open_release

    notes = []
    for name, one in embeddings.items():
        for number, adapter in enumerate(adapters_of(one.facts)):
            if said := adapter.get("leakage"):
                notes.append(f"{name}: LEAKAGE at training: {said}")
            sha256 = str(adapter.get("release_sha256") or "")
            # One release can be compared: of adapters merged before it may be another's, which is no fault.
            ask = number == 0 or (trained_on is not None and release_sha256(open_release(trained_on)) == sha256)
            note = _overlap(release, sections, sha256, trained_on if ask else None)
            notes += [f"{name}: {note}"] if note else []
    return list(dict.fromkeys(notes))


def adapters_of(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The adapter that a file of embeddings tells of, and those that were merged into its base before."""
    encoder = facts.get("encoder")
    adapter = encoder.get("adapter") if isinstance(encoder, Mapping) else None
    while isinstance(adapter, Mapping):
        yield adapter
        adapter = adapter.get("before")


def _overlap(
    release: Release, sections: Sequence[str], trained_sha256: str, trained_on: str | Path | Release | None
) -> str | None:
    from humanst.load import open_release

    if trained_sha256 == release_sha256(release):
        found = check_leakage(release, TRAIN_SPLIT, sections, (), allow=True)
    elif trained_on is None:
        return (
            "its adapter was trained on another release; whether that holds donors tested here is not known "
            "(--trained-on compares)."
        )
    else:
        training = open_release(trained_on)
        if trained_sha256 and release_sha256(training) != trained_sha256:
            raise IntegrityError(
                "This is not the release that the adapter was trained on",
                code="adapter-release",
                field="--trained-on",
                expected=trained_sha256,
                found=release_sha256(training),
            )
        found = check_leakage(training, TRAIN_SPLIT, sections, (), allow=True, evaluation=release)
    return None if found.note is None else f"LEAKAGE: {found.note}"


def donor_notes(lines: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """Whether there are donors too few for an interval; ``field`` is the one whose interval counts."""
    fewest = min((line[field]["n_donors"] for line in lines), default=0)
    if fewest >= MIN_DONORS:
        return []
    return [f"No interval where there are fewer than {MIN_DONORS} donors: {TOO_FEW} ({fewest})."]


def pair_notes(found: Mapping[str, Probed]) -> list[str]:
    """How many pairs lack an embedding, model by model."""
    return [f"{name}: {len(one.missing):,} pairs have no embedding." for name, one in found.items() if one.missing]


def gene_notes(release: Release, gmt: Path | None) -> list[str]:
    """Whether genes were told apart by the gene sets of the release."""
    if gmt is None:
        return ["Genes are not told apart by gene sets: none were given (--gmt)."]
    wanted = release.manifest.get("pathways", {}).get("sha256")
    if wanted and sha256_file(gmt) != wanted:
        return [f"The gene sets of {gmt.name} are not those of the release's pathways."]
    return []
