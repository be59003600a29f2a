"""The smallest form of every input that mutation found to be refused without a name, or never."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from humanst.catalog import read_yaml
from humanst.curate.guesses import scale_factors
from humanst.errors import DataError, HostileError, HumanstError, IntegrityError
from humanst.files import parse_json
from humanst.findings import Findings
from humanst.load import PairDataset, open_release
from humanst.pathways.gene_sets import read_gmt
from humanst.platforms.tables import read_table
from humanst.platforms.transcripts import read_transcripts
from humanst.schemas import MAX_FAULTS, check_document
from humanst.shards.verify import verify_release
from tests.faults.fuzz_kinds import INDEX, SHARD, linked, put, seal
from tests.fetch.small_release import write_release
from tests.platforms.bundles import table


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    path = tmp_path_factory.mktemp("found") / "release"
    write_release(path)
    return path


@pytest.fixture
def release(good: Path, tmp_path: Path) -> Path:
    return linked(good, tmp_path / "release")


def codes(release: Path) -> set[str]:
    """Codes that ``humanst verify`` gives; each fault says where it is."""
    try:
        findings = verify_release(release).findings
    except HumanstError as error:
        return {error.facts.code if error.facts.where else "nowhere"}
    assert all(finding.facts.where for finding in findings)
    return {finding.facts.code for finding in findings.of("refuse")}


@pytest.mark.parametrize("text", ['{"a": ' + "[" * 100_000, "[" * 65 + "]" * 65, '{"a": NaN}', "[1e999, -Infinity]"])
def test_json_that_is_too_deep_or_none_is_a_fault_of_the_file(text: str, release: Path) -> None:
    with pytest.raises(ValueError, match=r"deeper|JSON"):
        parse_json(text)
    put(release / "MANIFEST.json", text.encode())
    assert codes(release) == {"integrity"}
    with pytest.raises(DataError) as caught:
        open_release(release)
    assert caught.value.facts.code == "manifest-invalid"


@pytest.mark.parametrize(
    ("entry", "value", "kind", "field"),
    [
        ("side_px", 1 << 40, DataError, "patch.side_px"),
        ("path", "../x.tar", HostileError, "splits.train.shards[0].path"),
        ("index", "a\ud800.parquet", HostileError, "splits.train.index"),
    ],
)
def test_a_manifest_that_nobody_could_read_from_is_refused_by_field(
    entry: str, value: object, kind: type[HumanstError], field: str, release: Path
) -> None:
    content = json.loads((release / "MANIFEST.json").read_bytes())
    train = content["splits"]["train"]
    {"side_px": content["patch"], "path": train["shards"][0], "index": train}[entry][entry] = value
    put(release / "MANIFEST.json", json.dumps(content).encode())
    with pytest.raises(kind) as caught:
        open_release(release)
    assert caught.value.facts.field == field


def test_json_at_the_limit_is_read() -> None:
    assert parse_json("[" * 64 + "]" * 64) == json.loads("[" * 64 + "]" * 64)
    assert parse_json(b'{"a": [1, 2.5, null, "\\u00e9", true]}') == {"a": [1, 2.5, None, "\u00e9", True]}


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "drops are text": (lambda content: content["sections"][0].update(pair_drops="none"), "wrong-type"),
    "drops are gone": (lambda content: content["sections"][0].pop("pair_drops", None), ""),
    "no totals": (lambda content: content.pop("totals"), "index"),
    "totals are text": (lambda content: content.update(totals={"pairs": "37"}), "wrong-type"),
    "another schema": (lambda content: content.update(schema=["x"] * 1000), "unknown-release"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_of_other_kinds_are_refused_by_field(name: str, release: Path) -> None:
    spoil, code = MANIFESTS[name]
    content = json.loads((release / "MANIFEST.json").read_bytes())
    spoil(content)
    put(release / "MANIFEST.json", json.dumps(content).encode())
    assert codes(release) == ({code} if code else set())


def set_column(name: str, make: Callable[[pa.ChunkedArray], Any]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        whole, out = pq.read_table(io.BytesIO(data)), io.BytesIO()
        pq.write_table(whole.set_column(whole.column_names.index(name), name, make(whole[name])), out)
        return out.getvalue()

    return change


def without(name: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        out = io.BytesIO()
        pq.write_table(pq.read_table(io.BytesIO(data)).drop_columns([name]), out)
        return out.getvalue()

    return change


def written(table: pa.Table, **how: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **how)
    return out.getvalue()


def of_many_groups(data: bytes) -> bytes:
    """The same rows, one a group, and so many columns more that the footer is all there is of the file."""
    table = pq.read_table(io.BytesIO(data))
    more = {f"{'x' * 2000}{number}": pa.nulls(table.num_rows, pa.int32()) for number in range(200)}
    for name, column in more.items():
        table = table.append_column(name, column)
    return written(table, row_group_size=1)


INDEXES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-1],
    "a footer beyond the file": lambda data: data[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    "no thrift": lambda data: data[:-60] + b"\xff" * 52 + data[-8:],
    "a broken page": lambda data: data[:40] + b"\xff" * 200 + data[240:],
    "no offsets": without("jpg_offset"),
    "offsets are text": set_column("jpg_offset", lambda column: column.cast(pa.string())),
    "lengths are fractions": set_column("npy_length", lambda column: column.cast(pa.float64())),
    "offsets are objects": set_column("json_offset", lambda column: pa.array([{"a": n} for n in column.to_pylist()])),
    "keys are a dictionary": set_column("key", lambda column: column.combine_chunks().dictionary_encode()),
    "keys are bytes": set_column("key", lambda column: column.cast(pa.binary())),
    "a footer that is the file": of_many_groups,
    "more rows than the manifest counts": lambda data: written(pa.concat_tables([pq.read_table(io.BytesIO(data))] * 3)),
    "a name that is no UTF-8": lambda data: data.replace(b"n_genes", b"n_g\xffnes"),
    "a value that is no UTF-8": set_column(
        "sample_id", lambda column: pc.cast(pa.array([b"\xb5"] * len(column)), pa.string(), safe=False)
    ),
    "a column twice": lambda data: written(
        (table := pq.read_table(io.BytesIO(data))).append_column("platform", table["platform"])
    ),
    "places are objects": set_column("y_um", lambda column: pa.array([{"a": y} for y in column.to_pylist()])),
    "no z": without("log10_counts_z"),
    "a shard is missing": set_column("shard", lambda column: pa.array([None, *column.to_pylist()[1:]])),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_that_cannot_be_used_are_refused_by_verify_and_load(name: str, release: Path) -> None:
    """Sealed anew, as a forger would: the hashes are right."""
    data = INDEXES[name]((release / INDEX).read_bytes())
    put(release / INDEX, data)
    seal(release, INDEX, data)
    assert codes(release) == {"index"}
    with pytest.raises(DataError) as caught:
        PairDataset(release, "train")
    assert (caught.value.facts.code, caught.value.facts.file) == ("index-invalid", INDEX)


def test_an_index_whose_z_is_text_is_refused_before_a_pair_is_read(release: Path) -> None:
    data = set_column("log10_counts_z", lambda column: column.cast(pa.string()))((release / INDEX).read_bytes())
    put(release / INDEX, data)
    seal(release, INDEX, data)
    with pytest.raises(DataError, match="log10_counts_z"):
        PairDataset(release, "train")


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0"])
def test_a_member_of_no_possible_size_is_a_fault_of_the_shard(size: bytes, release: Path) -> None:
    data = bytearray((release / SHARD).read_bytes())
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    put(release / SHARD, bytes(data))
    seal(release, SHARD, bytes(data))
    assert codes(release) == {"shard"}


@pytest.mark.parametrize("member", [b"[" * 400, b"[]", b'{"key": NaN}', b"\xff"])
def test_a_member_that_is_no_json_object_is_a_fault_of_the_shard(member: bytes, release: Path) -> None:
    data = bytearray((release / SHARD).read_bytes())
    row = pq.read_table(release / INDEX).to_pylist()[0]
    begin, length = row["json_offset"], row["json_length"]
    data[begin : begin + length] = member.ljust(length)[:length]
    put(release / SHARD, bytes(data))
    seal(release, SHARD, bytes(data))
    assert codes(release) == {"shard"}


@pytest.mark.parametrize("column", ["qv", "x_location", "feature_name"])
def test_transcripts_whose_columns_are_of_another_kind_are_refused(column: str, tmp_path: Path) -> None:
    whole = pa.Table.from_pandas(table(np.ones((3, 2)), ["ERBB2"] * 3))
    nested = pa.array([{"a": 1}] * 3)
    pq.write_table(whole.set_column(whole.column_names.index(column), column, nested), tmp_path / "t.parquet")
    with pytest.raises(DataError) as caught:
        list(read_transcripts(tmp_path / "t.parquet", name="t.parquet"))
    assert caught.value.facts.file == "t.parquet"
    # A nested name is no dictionary already for the reader of parquet, which names no column.
    assert caught.value.facts.field == (column if column != "feature_name" else None)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a: 1\nb: 2001-13-45\n", "line 2"),
        ("a: " + "9" * 5000 + "\n", "line 1"),
        ("a: 9999-99-99T99:99:99Z\n", "line 1"),
    ],
)
def test_yaml_values_that_are_no_date_or_number_are_named_by_line(text: str, field: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert (caught.value.facts.code, caught.value.facts.field) == ("yaml-unreadable", field)


def test_yaml_of_too_many_values_is_refused_before_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [" + "1, " * 100_000 + "1]\n")
    with pytest.raises(HostileError, match="keys and values"):
        read_yaml(tmp_path / "x.yaml")


def test_a_document_of_many_faults_is_refused_with_the_first_thousand() -> None:
    findings = Findings(file="catalog.yaml")
    check_document({"schema": "humanst.catalog/1", "studies": {f"s{n}": n for n in range(20_000)}}, "catalog", findings)
    refused = [finding.facts.code for finding in findings.of("refuse")]
    assert len(refused) <= MAX_FAULTS + 1
    assert findings.refused


def test_a_gene_set_that_names_a_gene_50_000_times_is_read_at_once(tmp_path: Path) -> None:
    """To count each of them in the whole line took minutes."""
    (tmp_path / "x.gmt").write_text("\t".join(["SET", "about", *["A", "B"] * 25_000, "C"]) + "\n")
    began = time.process_time()
    sets = read_gmt(tmp_path / "x.gmt", name="x")
    assert time.process_time() - began < 2
    assert sets.members == (("A", "B", "C"),)
    assert sets.repeated == (("SET", ("A", "B")),)


@pytest.mark.parametrize("line", [0, 1])
def test_a_table_of_too_many_columns_is_refused_before_pandas_makes_them(line: int, tmp_path: Path) -> None:
    """A hundred thousand took half a minute."""
    lines = [",".join("abc"), ",".join("123")]
    lines[line] = ",".join(["1"] * 1_001)
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="1,001 fields"):
        read_table(tmp_path / "x.csv", name="x.csv")
    assert (
        read_table(tmp_path / "x.csv", name="x.csv", max_fields=1_001, header=None, names=range(1_001)).shape[1]
        == 1_001
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("line", [0, 1, 50_000])
def test_a_nul_in_a_number_is_refused_and_cuts_nothing_off(line: int, packed: bool, tmp_path: Path) -> None:
    lines = ["100,200"] * 200_000
    lines[line] = "1\x0000,200"
    data = "\n".join(lines).encode()
    (tmp_path / "x.csv").write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match="NUL"):
        read_table(tmp_path / "x.csv", name="x.csv", header=None)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("humanst.platforms.tables.MAX_LINE_BYTES", 1000)
    (tmp_path / "x.csv").write_text("a,b\n" + "1" * 1000 + ",2\n")
    with pytest.raises(DataError, match="a line of 1,000 bytes or more"):
        read_table(tmp_path / "x.csv", name="x.csv")


def test_a_release_that_nothing_is_wrong_with_has_no_fault(release: Path) -> None:
    assert codes(release) == set()
    assert len(PairDataset(release, "train")) == 32
    shutil.rmtree(release / "sections")
    with pytest.raises(IntegrityError):
        verify_release(release).raise_if_bad()


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 400, "9" * 5000, "NaN", "true", '"1"'])
def test_scale_factors_of_no_use_are_no_guess(value: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"tissue_hires_scalef": 0.5, "spot_diameter_fullres": ' + value + "}")
    found = scale_factors(tmp_path, {"scalefactors": "s.json"})
    assert found.get("tissue_hires_scalef", 0.5) == 0.5
    assert not np.isfinite(found.get("spot_diameter_fullres", np.inf))
