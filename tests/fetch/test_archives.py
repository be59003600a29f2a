"""Members of archives: the wanted file and nothing else, by name or by the recipe's pattern; hostile ones refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from humanst.catalog import Source, load_catalog
from humanst.errors import DataError, HostileError, HumanstError, IntegrityError
from humanst.fetch import LocalFiles, fetch_section
from humanst.fetch.archives import Budget, gunzip, list_members, read_member
from tests.fetch.conftest import BODY, on_disk, study
from tests.studies import ST_RECIPE, write_world

TABLE = b"barcode,1,0,0,5.5,6.5\n" * 500
MEMBERS = {
    "GSM1_A_matrix.h5": BODY,
    "GSM1_A_positions.csv.gz": gzip.compress(TABLE, mtime=0),
    "GSM2_B_matrix.h5": BODY[::-1],
    "GSM2_B_positions.csv.gz": gzip.compress(TABLE[::-1], mtime=0),
}
PATTERNS = {"counts": "GSM*_{section}_matrix.h5", "positions": "GSM*_{section}_positions.csv.gz"}


def plain(name: str, data: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def make_tar(members: dict[str, bytes] = MEMBERS, *odd: tarfile.TarInfo, compress: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if compress else "w") as tar:
        for name, data in members.items():
            tar.addfile(plain(name, data), io.BytesIO(data))
        for info in odd:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def make_zip(members: dict[str, bytes] = MEMBERS) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def archived(mirror: Path, body: bytes, *roles: tuple[str, str | None], name: str = "GSE1_RAW.tar") -> list[Source]:
    """Put an archive into the mirror; a source of it for every (role, member)."""
    (mirror / name).write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    return [Source(role, name, None, len(body), digest, member=member) for role, member in roles]


def by_pattern(mirror: Path, body: bytes, section_id: str, patterns: dict[str, str] = PATTERNS) -> LocalFiles:
    made, section = study(*archived(mirror, body, ("archive", None)))
    made = replace(made, recipe=replace(made.recipe, options={"members": patterns}))
    return fetch_section(made, replace(section, section_id=section_id))


@pytest.mark.parametrize("body", [make_tar(), make_tar(compress=True), make_zip()], ids=["tar", "tar.gz", "zip"])
def test_named_members_come_out_decompressed_with_their_own_hash(mirror: Path, cache: Path, body: bytes) -> None:
    names = {"counts": "GSM1_A_matrix.h5", "positions": "GSM1_A_positions.csv.gz"}
    local = fetch_section(*study(*archived(mirror, body, *names.items())))
    assert local.paths["counts"].read_bytes() == BODY
    assert local.paths["positions"].read_bytes() == TABLE
    assert local.sha256 == {"counts": hashlib.sha256(BODY).hexdigest(), "positions": hashlib.sha256(TABLE).hexdigest()}
    assert local.names == {role: f"GSE1_RAW.tar/{member}" for role, member in names.items()}
    assert local.paths["positions"].name == "GSM1_A_positions.csv"
    assert len(on_disk(cache)) == 3, "the archive and the two members, nothing else"


def test_the_recipe_finds_the_members_of_each_section(mirror: Path) -> None:
    first, second = (by_pattern(mirror, make_tar(), section) for section in "AB")
    assert first.paths["counts"].read_bytes() == BODY
    assert second.paths["counts"].read_bytes() == BODY[::-1]
    assert second.paths["positions"].read_bytes() == TABLE[::-1]
    assert set(first.paths) == set(PATTERNS), "the archive itself is no file for a reader"


def test_a_member_is_unpacked_once_and_again_when_it_was_touched(mirror: Path) -> None:
    path = by_pattern(mirror, make_tar(), "A").paths["counts"]
    written = path.stat().st_ino
    assert by_pattern(mirror, make_tar(), "A").paths["counts"].stat().st_ino == written
    path.write_bytes(b"changed")
    assert by_pattern(mirror, make_tar(), "A").paths["counts"].read_bytes() == BODY


def test_a_gzipped_image_is_unpacked_and_a_gzipped_table_is_left_to_its_reader(mirror: Path) -> None:
    bodies = {"tissue_hires_image.png.gz": BODY, "positions.csv.gz": TABLE}
    sources = [
        archived(mirror, gzip.compress(body, mtime=0), (role, None), name=name)[0]
        for role, (name, body) in zip(("hires", "positions"), bodies.items(), strict=True)
    ]
    local = fetch_section(*study(*sources))
    assert local.paths["hires"].read_bytes() == BODY
    assert local.paths["hires"].suffix == ".png"
    assert local.sha256["hires"] == hashlib.sha256(BODY).hexdigest()
    assert local.paths["positions"].read_bytes() == gzip.compress(TABLE, mtime=0)


def test_a_pattern_must_find_one_member(mirror: Path, cache: Path) -> None:
    twins = {**MEMBERS, "GSM9_B_A_matrix.h5": BODY}
    for body, section, code in ((make_tar(twins), "A", "ambiguous-member"), (make_tar(), "C", "no-member")):
        with pytest.raises(DataError) as caught:
            by_pattern(mirror, body, section)
        assert caught.value.facts.code == code
        assert caught.value.facts.section == section
    assert not (cache / "unpacked").exists()


def link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("wanted")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def linked_zip() -> bytes:
    out = io.BytesIO()
    info = zipfile.ZipInfo("wanted")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def through_a_link(*, zipped: bool = False) -> bytes:
    """A folder that is a link, and a file "in" it: unpacked in order, the file lands where the link points."""
    if not zipped:
        info = link(tarfile.SYMTYPE)
        info.name, info.linkname = "data", "../../.."
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.addfile(info)
            tar.addfile(plain("data/wanted", b"x"), io.BytesIO(b"x"))
        return out.getvalue()
    out = io.BytesIO()
    folder = zipfile.ZipInfo("data")
    folder.create_system, folder.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(folder, "../../..")
        archive.writestr("data/wanted", "x")
    return out.getvalue()


def chain(length: int = 300) -> bytes:
    """A link to a link to a link, and the wanted one at its end."""
    links = [link(tarfile.SYMTYPE) for _ in range(length)]
    for number, info in enumerate(links):
        info.name, info.linkname = f"link{number}", f"link{number + 1}"
    links[-1].name = "wanted"
    return make_tar({}, *links)


def zip_with_twins() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("wanted", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("wanted", b"two")
    return out.getvalue()


def bomb() -> bytes:
    return make_zip({"wanted": bytes(100 << 20)})


HOSTILE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "symlink": (lambda: make_tar({}, link(tarfile.SYMTYPE)), "wanted", "unsafe-member"),
    "hard link": (lambda: make_tar({}, link(tarfile.LNKTYPE)), "wanted", "unsafe-member"),
    "fifo": (lambda: make_tar({}, link(tarfile.FIFOTYPE)), "wanted", "unsafe-member"),
    "device": (lambda: make_tar({}, link(tarfile.CHRTYPE)), "wanted", "unsafe-member"),
    "folder": (lambda: make_tar({}, link(tarfile.DIRTYPE)), "wanted", "unsafe-member"),
    "zip link": (linked_zip, "wanted", "unsafe-member"),
    "write through a link": (through_a_link, "data/wanted", "unsafe-member"),
    "write through a zip link": (lambda: through_a_link(zipped=True), "data/wanted", "unsafe-member"),
    "chain of links": (chain, "wanted", "unsafe-member"),
    "twin in capitals": (lambda: make_tar({"wanted": b"one", "WANTED": b"two"}), "wanted", "member-twice"),
    "zip twin in capitals": (lambda: make_zip({"Wanted": b"one", "wanted": b"two"}), "wanted", "member-twice"),
    "name twice": (lambda: make_tar({"wanted": b"one"}, plain("wanted", b"two")), "wanted", "member-twice"),
    "zip name twice": (zip_with_twins, "wanted", "member-twice"),
    "parent": (lambda: make_tar({"../wanted": b"x"}), "../wanted", "hostile"),
    "absolute": (lambda: make_tar({"/wanted": b"x"}), "/wanted", "hostile"),
    "backslash": (lambda: make_zip({"..\\wanted": b"x"}), "..\\wanted", "hostile"),
    "backslash in a tar": (lambda: make_tar({"..\\..\\wanted": b"x"}), "..\\..\\wanted", "hostile"),
    "drive": (lambda: make_zip({"C:wanted": b"x"}), "C:wanted", "hostile"),
    "drive in a tar": (lambda: make_tar({"C:/wanted": b"x"}), "C:/wanted", "hostile"),
    "zip bomb": (bomb, "wanted", "archive-bomb"),
    "gzip bomb": (lambda: make_tar({"wanted.gz": gzip.compress(bytes(100 << 20))}), "wanted.gz", "archive-bomb"),
    "tar.gz bomb": (lambda: make_tar({"a": bytes(100 << 20), "wanted": b"x"}, compress=True), "wanted", "archive-bomb"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_member_leaves_nothing_behind(mirror: Path, cache: Path, tmp_path: Path, fault: str) -> None:
    make, member, code = HOSTILE[fault]
    sources = archived(mirror, make(), ("counts", member))
    before = on_disk(tmp_path)
    with pytest.raises(HostileError) as caught:
        fetch_section(*study(*sources))
    assert (caught.value.facts.code, caught.value.exit_code) == (code, 8)
    assert caught.value.facts.section == "S1"
    assert on_disk(tmp_path) - before == {"cache/sources/tiny/GSE1_RAW.tar"}


def test_hostile_members_that_nobody_asked_for_do_not_matter(mirror: Path, cache: Path) -> None:
    body = make_tar({"../../escape": b"x", **MEMBERS}, link(tarfile.SYMTYPE))
    assert by_pattern(mirror, body, "A").paths["counts"].read_bytes() == BODY
    assert not list(cache.rglob("escape"))


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, compress: bool) -> None:
    whole = make_tar(compress=compress)
    path = tmp_path / "cut"
    # Beyond the first block of zeros the rest is padding.
    end = len(whole) if compress else len(whole.rstrip(b"\0"))
    for size in range(1, end, max(1, end // 40)):
        path.write_bytes(whole[:size])
        for attempt in (list_members, lambda path, name: b"".join(read_member(path, "GSM2_B_matrix.h5", name=name))):
            with pytest.raises((IntegrityError, DataError)) as caught:
                attempt(path, name="a.tar")
            assert caught.value.facts.code in {"archive-cut", "archive-unreadable", "no-member"}


def test_a_gzip_stream_is_bounded_and_must_end() -> None:
    data = bytes(range(256)) * 4096
    packed = gzip.compress(data) + gzip.compress(b"and more")
    assert b"".join(gunzip(iter([packed[:1000], packed[1000:]]), name="a.gz")) == data + b"and more"
    small = Budget(max_bytes=len(data) // 2)
    with pytest.raises(HostileError):
        list(gunzip(iter([packed]), name="a.gz", budget=small))
    for broken in (packed[:-3], b"", b"not gzip at all"):
        with pytest.raises(IntegrityError):
            list(gunzip(iter([broken]), name="a.gz"))


def test_asking_for_one_role_takes_the_archive_that_holds_it(mirror: Path) -> None:
    made, section = study(*archived(mirror, make_tar(), ("archive", None)))
    made = replace(made, recipe=replace(made.recipe, options={"members": PATTERNS}))
    section = replace(section, section_id="A")
    assert set(fetch_section(made, section, roles={"positions"}).paths) == {"positions"}
    assert fetch_section(made, section, roles={"labels"}).paths == {}


def test_an_encrypted_member_is_named(mirror: Path) -> None:
    body = bytearray(make_zip({"wanted": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + offset] |= 1
    with pytest.raises(HumanstError) as caught:
        fetch_section(*study(*archived(mirror, bytes(body), ("counts", "wanted"))))
    assert caught.value.facts.code == "archive-encrypted"


def test_the_catalog_takes_members_and_refuses_unsafe_ones(tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_bytes(TABLE)
    world = write_world(tmp_path, {"tiny": {"S1": {"counts": table}}}, {"tiny": ST_RECIPE}, gene_sets=table)
    content = yaml.safe_load((world.folder / "catalog.yaml").read_text())
    entry = content["studies"]["tiny"]["sections"]["S1"]["files"]["counts"]
    entry |= {"path": "GSE1_RAW.tar", "member": "GSM1_A.h5"}
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(content))
    counts = load_catalog(tmp_path / "catalog.yaml").study("tiny").section("S1").source("counts")
    assert counts is not None
    assert (counts.path, counts.member) == ("GSE1_RAW.tar", "GSM1_A.h5")
    entry["member"] = "../GSM1_A.h5"
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(HostileError):
        load_catalog(tmp_path / "catalog.yaml")
