"""Draft a catalog entry from addresses alone: names tell roles and sections; what nobody saw stays unknown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from humanst.builder.matching import safe_id
from humanst.curate.draft import ROLES_OF
from humanst.curate.entry import AddressedStudy, EntryDraft, write_entry
from humanst.curate.layouts import Bundle, find_bundles, full_image, group_alike, name_sections, template
from humanst.curate.vendor import Published, published
from humanst.errors import UsageError
from humanst.fetch.probe import probe
from humanst.settings import Settings

_ACCESSION = re.compile(r"(GSE|GSM)(\d+)")
_GEO_FTP = "https://ftp.ncbi.nlm.nih.gov/geo"
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


def propose_entry(addresses: Sequence[str], study_id: str, members: Sequence[str], settings: Settings) -> EntryDraft:
    """Draft a study from the addresses of its files, or from a GEO accession.

    Parameters
    ----------
    addresses
        https addresses of files, GEO pages (``...acc.cgi?acc=GSE1``) or bare accessions.
    study_id
        Its id in the catalog.
    members
        Names of what the one archive among the files holds, as ``tar tf`` lists them.
    settings
        Sizes are asked for unless it says offline.

    Raises
    ------
    UsageError
        ``not-an-address`` for anything else.
    """
    study = AddressedStudy(study_id)
    urls = [url for address in addresses for url in _file_urls(address, study)]
    study.base_url = _base(urls)
    for url in urls:
        path = unquote(url[len(study.base_url) :] if study.base_url else urlsplit(url).path.lstrip("/"))
        study.urls[path] = url
        study.probes[path] = probe(url, settings)
    archives = [path for path in study.urls if path.lower().endswith(_ARCHIVES)]
    loose = [path for path in study.urls if path not in archives]
    vendor = None if members else published(study.urls)
    if vendor is not None:
        sections, platform, recipe = _from_vendor(study, vendor)
    elif archives and members:
        if len(archives) > 1:
            study.unknown.append(f"which archive holds the members: {archives[0]} was taken")
        sections, platform, recipe = _from_members(study, archives[0], members)
    else:
        sections, platform, recipe = _from_files(study, loose)
        if archives:
            study.unknown.append(f"what is in {', '.join(archives)}: list it with `tar tf` and give --members")
    return write_entry(study, sections, platform, recipe)


def _file_urls(address: str, study: AddressedStudy) -> list[str]:
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    bare = _ACCESSION.fullmatch(address.upper())
    if bare or (parts.hostname == "www.ncbi.nlm.nih.gov" and parts.path.startswith("/geo/") and "acc" in query):
        accession = (address if bare else query["acc"][0]).upper()
        return _geo_urls(accession, query.get("file", [None])[0], study)
    name = PurePosixPath(parts.path).name
    if parts.scheme != "https" or not parts.hostname or not name or parts.username:
        raise UsageError(
            "This is no address of a file",
            code="not-an-address",
            expected="https://host/file, a GEO page or an accession such as GSE1 (or one FOLDER alone)",
            found=repr(address),
        )
    return [address]


def _geo_urls(accession: str, file: str | None, study: AddressedStudy) -> list[str]:
    """Where GEO keeps the supplementary files of a series or sample; a rule of its archive."""
    match = _ACCESSION.fullmatch(accession)
    if match is None:
        raise UsageError(
            "This is no GEO accession",
            code="not-an-address",
            expected="GSE or GSM and digits",
            found=repr(accession),
        )
    study.accessions["geo" if not study.accessions else f"geo_{len(study.accessions) + 1}"] = accession
    kind, digits = match[1], match[2]
    stub = f"{kind}{digits[:-3]}nnn"
    folder = f"{_GEO_FTP}/{'series' if kind == 'GSE' else 'samples'}/{stub}/{accession}/suppl/"
    if file is None and kind == "GSM":
        study.unknown.append(f"which files {accession} has: see {folder} and give their addresses")
        return []
    return [folder + quote(file or f"{accession}_RAW.tar")]


def _base(urls: Sequence[str]) -> str | None:
    """What all addresses begin with, up to a slash; ``None`` where they have different hosts."""
    places = [urlsplit(url) for url in urls]
    if not urls or len({place.netloc for place in places}) > 1 or any(place.query for place in places):
        return None
    parts = [url.split("/")[:-1] for url in urls]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    # A part that is shared below one that is not does not count.
    while not all(one[: len(shared)] == shared for one in parts):
        shared.pop()
    return "/".join(shared) + "/"


def _bundles(study: AddressedStudy, paths: Sequence[str], sizes: Mapping[str, int]) -> tuple[dict[str, Bundle], str]:
    """Sections by id and their platform; the kind with the most sections, the others are told."""
    found, loose = find_bundles(paths)
    groups = sorted(group_alike(found), key=lambda group: -len(group))
    if not groups:
        shown = ", ".join(list(paths)[:4]) or "no files"
        study.unknown.append(f"platform and sections: no vendor's file names among {shown}")
        return {}, "unknown"
    for other in groups[1:]:
        study.unknown.append(f"{len(other)} sections of {other[0].platform}: draft them as a study of their own")
    for bundle in loose:
        study.unknown.append(f"whose positions go with {next(iter(bundle.files.values()))}")
    for bundle in groups[0]:
        image, others = full_image(bundle, sizes)
        if image is not None:
            bundle.files["image"] = image
        if others:
            study.unknown.append(
                f"which picture is the full-resolution H&E: {image} was taken, not {', '.join(others)}"
            )
    return name_sections(groups[0]), str(groups[0][0].platform)


def _from_files(study: AddressedStudy, paths: Sequence[str]) -> tuple[dict[str, dict[str, Any]], str, dict[str, Any]]:
    sizes = {path: study.probes[path].bytes or 0 for path in paths}
    bundles, platform = _bundles(study, paths, sizes)
    roles = ROLES_OF.get(platform, ())
    sections = {
        safe_id(name or study.study_id): {
            role: study.file(bundle.files[role]) for role in roles if role in bundle.files
        }
        for name, bundle in bundles.items()
    }
    taken = {file["path"] for section in sections.values() for file in section.values()}
    if left := sorted(set(paths) - taken):
        study.unknown.append(f"what {', '.join(left[:6])} is for: in no section")
    return sections, platform, {}


def _from_vendor(study: AddressedStudy, found: Published) -> tuple[dict[str, dict[str, Any]], str, dict[str, Any]]:
    """Sections as their vendor publishes them: an archive each, and what lies beside it."""
    sections: dict[str, dict[str, Any]] = {}
    for other, count in found.others:
        study.unknown.append(f"{count} sections of {other.platform}: draft them as a study of their own")
    for prefix, files in found.sections.items():
        for role in found.layout.needed:
            if role not in files:
                study.unknown.append(f"which file is the {role} beside {files['archive']}")
        name = safe_id(prefix.rstrip("_.-") or study.study_id)
        sections[name] = {role: study.file(path) for role, path in sorted(files.items())}
    taken = {path for files in found.sections.values() for path in files.values()}
    if left := sorted(set(study.urls) - taken):
        study.unknown.append(f"what {', '.join(left[:6])} is for: in no section")
    return sections, found.layout.platform, {"members": found.layout.members}


def _from_members(
    study: AddressedStudy, archive: str, members: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], str, dict[str, Any]]:
    bundles, platform = _bundles(study, members, dict.fromkeys(members, 0))
    patterns: dict[str, str] = {}
    for role in ROLES_OF.get(platform, ()):
        files = {name: bundle.files[role] for name, bundle in bundles.items() if role in bundle.files}
        if files:
            patterns[role], strays = template(files)
            study.unknown += [
                f"how {path} of {name} is found: the others lie elsewhere" for name, path in strays.items()
            ]
    changed = [name for name in bundles if safe_id(name or study.study_id) != (name or study.study_id)]
    if changed:
        study.unknown.append(f"how members of {', '.join(changed)} are found: their section ids had to be spelled anew")
    sections = {safe_id(name or study.study_id): {"archive": study.file(archive)} for name in bundles}
    return sections, platform, {"members": patterns}
