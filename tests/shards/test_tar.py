"""Archives of humanst.shards.tar against Python's tarfile and webdataset, two independent implementations."""

from __future__ import annotations

import io
import string
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humanst.errors import DataError
from humanst.files import write_aside
from humanst.shards.tar import end_of_archive, member_header, write_member

NAME_CHARACTERS = string.ascii_letters + string.digits + "_-"
names = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(NAME_CHARACTERS),
    st.text(NAME_CHARACTERS + ".", max_size=99),
)
members = st.lists(st.tuples(names, st.binary(max_size=1600)), max_size=8, unique_by=lambda member: member[0])


class Counted(io.BytesIO):
    """An in-memory file with the byte count that write_member asks for."""

    @property
    def n_bytes(self) -> int:
        return self.tell()


def archive(content: list[tuple[str, bytes]]) -> tuple[bytes, list[tuple[int, int]]]:
    out = Counted()
    places = [write_member(out, name, data) for name, data in content]
    out.write(end_of_archive(out.n_bytes))
    return out.getvalue(), places


def reference(content: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@given(members)
def test_the_archive_equals_the_one_of_tarfile_byte_for_byte(content: list[tuple[str, bytes]]) -> None:
    ours, _ = archive(content)
    assert ours == reference(content)


@given(members)
def test_offsets_point_at_the_data(content: list[tuple[str, bytes]]) -> None:
    ours, places = archive(content)
    assert [ours[offset : offset + length] for offset, length in places] == [data for _, data in content]
    with tarfile.open(fileobj=io.BytesIO(ours)) as tar:
        assert [(info.name, info.offset_data, info.size) for info in tar] == [
            (name, offset, length) for (name, _), (offset, length) in zip(content, places, strict=True)
        ]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8**11 - 1])
@pytest.mark.parametrize("length", [1, 99, 100])
def test_the_header_equals_the_one_of_tarfile_at_the_limits(size: int, length: int) -> None:
    info = tarfile.TarInfo("k" * length)
    info.size = size
    assert member_header("k" * length, size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("position", [0, 512, 8704, 9216, 9728, 10240])
def test_the_end_is_at_least_two_blocks_and_closes_a_record(position: int) -> None:
    end = end_of_archive(position)
    assert set(end) == {0}
    assert len(end) >= 1024
    assert (position + len(end)) % 10_240 == 0
    assert len(end) < 1024 + 10_240


def test_webdataset_reads_the_pairs_back(tmp_path: Path) -> None:
    import webdataset

    parts = {"jpg": b"\xff\xd8picture", "json": b"{}", "pathway.npy": b"numbers" * 100, "txt": b"breast"}
    content = [(f"s1_{i}x{i}.{part}", data + bytes([i])) for i in range(5) for part, data in parts.items()]
    path = tmp_path / "train-00000.tar"
    with write_aside(path) as out:
        for name, data in content:
            write_member(out, name, data)
        out.write(end_of_archive(out.n_bytes))
    found = [
        (f"{sample['__key__']}.{part}", sample[part])
        for sample in webdataset.WebDataset(str(path), shardshuffle=False)
        for part in parts
    ]
    assert found == content


@pytest.mark.parametrize("name", ["", "a/b.jpg", "../a.jpg", ".hidden", "é.jpg", "a b.jpg", "a\n", "a\x00b", "k" * 101])
def test_other_names_are_refused_and_nothing_is_written(name: str) -> None:
    out = Counted()
    with pytest.raises(DataError, match="cannot be a member") as caught:
        write_member(out, name, b"data")
    assert repr(name) in str(caught.value.facts.found)
    assert out.getvalue() == b""


@pytest.mark.parametrize("size", [-1, 8**11])
def test_sizes_that_need_an_extension_are_refused(size: int) -> None:
    with pytest.raises(DataError, match="USTAR"):
        member_header("a.jpg", size)


def test_a_position_off_the_block_border_is_refused() -> None:
    out = Counted(b"x")
    out.seek(1)
    with pytest.raises(DataError, match="block border"):
        write_member(out, "a.jpg", b"data")
    with pytest.raises(DataError, match="block border"):
        end_of_archive(511)
