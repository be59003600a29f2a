"""``humanst fetch`` of hostile archives and unsafe names: the exit code, and nothing new on disk.

What may be new is said once, in :func:`allowed`: the archive itself, whose hash is on record, with its stamp and lock,
and below ``unpacked`` an empty folder with the lock of the member that was asked for.
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from humanst.cli import humanst
from humanst.cli.output import run_and_exit
from humanst.errors import HostileError
from humanst.fetch.archives import read_member
from tests.fetch.packing import (
    crypto_zip,
    huge_header,
    renamed_seven_zip,
    seven_zip,
    seven_zip_of,
    sparse_member,
    tar_of,
    with_dictionary,
    zip_bomb_that_lies,
    zip_of_many,
    zip_that_lies,
)
from tests.fetch.test_archives import (
    bomb,
    chain,
    link,
    linked_zip,
    make_tar,
    make_zip,
    through_a_link,
    zip_with_twins,
)
from tests.studies import ST_RECIPE, World, write_world

NAME = "S1/GSE1_RAW.bin"
Run = Callable[..., tuple[int, str]]


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes | str]]:
    """Everything below a folder: kind and mode, size, time of change, and content of files and links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: bytes | str = (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        )
        size = status.st_size if path.is_file() else 0
        found[str(path.relative_to(folder))] = (status.st_mode, size, status.st_mtime_ns, content)
    return found


def allowed(name: str) -> bool:
    fetched = r"sources(/tiny(/S1(/GSE1_RAW\.bin|/GSE1_RAW\.bin\.stamp|/\.GSE1_RAW\.bin\.lock)?)?)?"
    unpacked = r"unpacked(/[0-9a-f]{64}(/(plain|gz)(/[^/]+)*?(/\.[^/]+\.lock)?)?)?"
    return re.fullmatch(rf"cache(/{fetched}|/{unpacked})?", name) is not None


def world_of(
    folder: Path, body: bytes, *, member: str | None = None, pattern: str | None = None, path: str = NAME
) -> World:
    """A mirror with an archive, and a catalog that asks for a member of it."""
    source = folder / "GSE1_RAW.bin"
    source.write_bytes(body)
    recipe = ST_RECIPE | ({"options": {"members": {"counts": pattern}}} if pattern is not None else {})
    role = "counts" if pattern is None else "archive"
    world = write_world(folder / "world", {"tiny": {"S1": {role: source}}}, {"tiny": recipe}, gene_sets=source)
    catalog = world.folder / "catalog.yaml"
    content = yaml.safe_load(catalog.read_text())
    entry = content["studies"]["tiny"]["sections"]["S1"]["files"][role]
    entry |= {"path": path} | ({} if member is None else {"member": member})
    catalog.write_text(yaml.safe_dump(content))
    (folder / "work").mkdir()
    return world


def strange(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed on disk that may not: all but folders, empty locks, and the archive with its stamp."""
    found = [name for name in before if after.get(name) != before[name]]
    new = set(after) - set(before)
    found += [name for name in new if not allowed(name)]
    return found + [
        name for name in new if after[name][1] != 0 and not name.endswith(("/GSE1_RAW.bin", "/GSE1_RAW.bin.stamp"))
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Put an archive into a mirror and fetch a member of it; what changed is looked at by the caller."""

    def fetch(
        body: bytes, *, member: str | None = None, pattern: str | None = None, path: str = NAME
    ) -> tuple[int, str]:
        world = world_of(tmp_path, body, member=member, pattern=pattern, path=path)
        monkeypatch.chdir(tmp_path / "work")
        monkeypatch.setenv("HUMANST_CATALOG", str(world.folder / "catalog.yaml"))
        monkeypatch.setenv("HUMANST_MIRROR", str(world.mirror))
        before = snapshot(tmp_path)
        with pytest.raises(SystemExit) as ended:
            run_and_exit(humanst, ["fetch", "tiny", "--json"])
        out = capsys.readouterr().out
        assert strange(before, snapshot(tmp_path)) == []
        return int(ended.value.code or 0), out

    return fetch


def code_of(out: str) -> str:
    """The code of the one failure a command printed."""
    said: dict[str, Any] = json.loads(out)
    return str(said["failures"][0]["code"] if said.get("failures") else said["code"])


def linked_folder(tmp_path: Path) -> bytes:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "wanted").symlink_to("/etc/passwd")
    body = seven_zip_of(folder)
    (folder / "wanted").unlink()
    return body


def kind(letter: bytes) -> Callable[[Path], bytes]:
    return lambda _: make_tar({}, link(letter))


# Name -> how it is made, the member that the catalog asks for or the recipe's pattern, exit code, code.
BY_MEMBER: dict[str, tuple[Callable[[Path], bytes], str, int, str]] = {
    "symlink": (kind(tarfile.SYMTYPE), "wanted", 8, "unsafe-member"),
    "hard link": (kind(tarfile.LNKTYPE), "wanted", 8, "unsafe-member"),
    "character device": (kind(tarfile.CHRTYPE), "wanted", 8, "unsafe-member"),
    "block device": (kind(tarfile.BLKTYPE), "wanted", 8, "unsafe-member"),
    "fifo": (kind(tarfile.FIFOTYPE), "wanted", 8, "unsafe-member"),
    "sparse member": (lambda _: sparse_member(), "wanted", 8, "unsafe-member"),
    "chain of links": (lambda _: chain(), "wanted", 8, "unsafe-member"),
    "through a link": (lambda _: through_a_link(), "data/wanted", 8, "unsafe-member"),
    "through a zip link": (lambda _: through_a_link(zipped=True), "data/wanted", 8, "unsafe-member"),
    "zip link": (lambda _: linked_zip(), "wanted", 8, "unsafe-member"),
    "7z link": (linked_folder, "wanted", 8, "unsafe-member"),
    "case twins": (lambda _: make_tar({"wanted": b"1", "WANTED": b"2"}), "wanted", 8, "member-twice"),
    "7z case twins": (lambda _: seven_zip({"wanted": b"1", "WANTED": b"2"}), "wanted", 8, "member-twice"),
    "duplicated member": (lambda _: zip_with_twins(), "wanted", 8, "member-twice"),
    "nested archive": (lambda _: make_tar({"in.zip": make_zip({"x": b"1"})}), "in.zip/x", 8, "unsafe-member"),
    "zip bomb": (lambda _: bomb(), "wanted", 8, "archive-bomb"),
    "zip bomb that lies": (lambda _: zip_bomb_that_lies(), "wanted", 8, "archive-bomb"),
    "gzip bomb": (lambda _: make_tar({"w.gz": gzip.compress(bytes(80 << 20))}), "w.gz", 8, "archive-bomb"),
    "7z bomb": (lambda _: seven_zip({"wanted": bytes(80 << 20)}), "wanted", 8, "archive-bomb"),
    "7z bomb before it": (lambda _: seven_zip({"a": bytes(80 << 20), "wanted": b"1"}), "wanted", 8, "archive-bomb"),
    "7z with a dictionary of 4 GiB": (lambda _: with_dictionary(40), "wanted", 8, "archive-bomb"),
    "huge member count": (lambda _: zip_of_many(100_001), "wanted", 8, "archive-members"),
    "huge list of members": (lambda _: zip_of_many(400_000), "wanted", 8, "archive-bomb"),
    "huge header": (lambda _: huge_header(), "wanted", 8, "archive-bomb"),
    "lying size": (lambda _: zip_that_lies(10), "wanted", 6, "archive-cut"),
    "cut tar": (lambda _: make_tar()[:3000], "GSM2_B_matrix.h5", 6, "archive-cut"),
    "cut zip": (lambda _: make_zip()[:-30], "GSM2_B_matrix.h5", 6, "archive-cut"),
    "cut 7z": (lambda _: seven_zip({"wanted": b"1" * 5000})[:-30], "wanted", 6, "archive-cut"),
    "encrypted without a password": (lambda _: crypto_zip({"wanted": b"1"}), "wanted", 5, "archive-encrypted"),
}
assert len(BY_MEMBER) >= 20


@pytest.mark.parametrize("fault", BY_MEMBER)
def test_hostile_archives(run: Run, tmp_path: Path, fault: str) -> None:
    make, member, exit_code, code = BY_MEMBER[fault]
    found, out = run(make(tmp_path), member=member)
    assert (found, code_of(out)) == (exit_code, code)


UNSAFE = {
    "parent": "../wanted",
    "parents": "../../../../../wanted",
    "parent within": "a/../../wanted",
    "two dots": "..",
    "absolute": "/wanted",
    "drive": "C:/wanted",
    "drive alone": "C:wanted",
    "share": "\\\\host\\share\\wanted",
    "backslashes": "..\\..\\wanted",
    "stream": "wanted:more",
    "device": "con",
    "device with a suffix": "a/NUL.h5",
    "device in other letters": "COM\u00b9.txt",
    "dot at the end": "wanted.",
    "space at the end": "a /wanted",
    "NUL": "wan\0ted",
    "line break": "wan\nted",
    "wildcard": "wan?ted",
    "long": "w" * 230,
    "long in bytes": "\u03bc" * 120,
    "long path": "/".join(["w" * 100] * 12),
    "direction mark": "wanted\u202egnp.h5",
}
assert len(UNSAFE) >= 13


def in_archive(name: str, tmp_path: Path) -> str:
    return f"{tmp_path}{name}" if name.startswith("/") else name


@pytest.mark.parametrize("fault", UNSAFE)
@pytest.mark.parametrize(
    "pack", [lambda name: tar_of((name, b"x")), lambda name: make_zip({name: b"x"})], ids=["tar", "zip"]
)
def test_unsafe_names_of_members(run: Run, tmp_path: Path, fault: str, pack: Callable[[str], bytes]) -> None:
    """The recipe's pattern is honest, and the archive answers it with such a name."""
    name = in_archive(UNSAFE[fault], tmp_path)
    # zipfile itself cuts a name at NUL, and takes two dots for a folder.
    zipped = pack == "zip" and fault not in ("NUL", "two dots")
    body = make_zip({name: b"x"}) if zipped else tar_of((name, b"x"))
    found, out = run(body, pattern="/".join("*" for _ in name.split("/")))
    assert (found, code_of(out)) == (8, "hostile")


def test_unsafe_name_in_a_7z(run: Run) -> None:
    found, out = run(renamed_seven_zip("aa/aa/wanted", "../../wanted"), pattern="*/*/wanted")
    assert (found, code_of(out)) == (8, "hostile")


@pytest.mark.parametrize("name", ["../wanted", "/wanted", "C:wanted"])
def test_unsafe_names_are_not_even_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of((name, b"x")))
    with pytest.raises(HostileError):
        next(read_member(tmp_path / "a.tar", name, name="a.tar"))


@pytest.mark.parametrize("name", ["wan\udcffted", "wan\x1b[2Jted"], ids=["no Unicode", "steers a terminal"])
def test_name_that_must_not_reach_a_terminal(run: Run, name: str) -> None:
    found, out = run(tar_of((name, b"x")), pattern="wan*ted")
    assert (found, code_of(out)) == (8, "hostile")
    assert json.loads(out)["failures"][0]["message"].isprintable()


@pytest.mark.parametrize("fault", UNSAFE)
@pytest.mark.parametrize("field", ["path", "member"])
def test_unsafe_names_in_the_catalog(run: Run, fault: str, field: str, tmp_path: Path) -> None:
    found, out = run(make_tar(), **{"member": "wanted", field: UNSAFE[fault]})
    assert found in ((8,) if len(UNSAFE[fault]) <= 400 else (5, 8)), out
    assert not (tmp_path / "cache").exists()


TWINS = {
    "case": ("S1/a.h5", "s1/A.h5"),
    "case of an archive's folder": ("S1/a.h5", "S1/A.H5"),
    "accents": ("\u00e9.h5", "e\u0301.h5"),
    "file and folder": ("S1/a", "S1/A/b.h5"),
}


@pytest.mark.parametrize("fault", TWINS)
def test_twins_in_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    files = {role: tmp_path / role for role in ("counts", "spots")}
    for role, path in files.items():
        path.write_text(role)
    world = write_world(tmp_path / "world", {"tiny": {"S1": files}}, {"tiny": ST_RECIPE}, gene_sets=files["spots"])
    catalog = world.folder / "catalog.yaml"
    content = yaml.safe_load(catalog.read_text())
    for role, path in zip(files, TWINS[fault], strict=True):
        content["studies"]["tiny"]["sections"]["S1"]["files"][role]["path"] = path
    catalog.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("HUMANST_CATALOG", str(catalog))
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_and_exit(humanst, ["fetch", "tiny", "--json"])
    assert (ended.value.code, code_of(capsys.readouterr().out)) == (5, "path-twins")
    assert snapshot(tmp_path) == before
