"""Checkpoints: exact, whole or not there, the newest few kept, nothing pickled."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from humanst.errors import DataError, HostileError, IntegrityError
from humanst.files import canonical_json, sha256_file
from stamp_train.checkpoints import load_checkpoint, rng_state, save_checkpoint, set_rng_state
from stamp_train.plain_state import pack, unpack

KINDS = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)


def same(one, other) -> bool:
    """Whether two states are one: types, keys, shapes, bits."""
    if isinstance(one, torch.Tensor):
        if not isinstance(other, torch.Tensor) or (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
        return torch.equal(*bits)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)


def small(step: int) -> dict:
    return {"model": {"w": torch.full((3, 4), float(step))}, "done": step}


def loaded(folder: Path) -> tuple[int, dict, list[str]]:
    step, state = load_checkpoint(folder)
    return step, state, state.pop("warnings")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, place: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_state_of_every_kind_comes_back_exactly(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(), (0,), (1,), (3, 4), (2, 0, 5)]
    grid = torch.arange(12.0).reshape(3, 4)
    state = {
        "tensors": {
            str(kind): [(torch.randn(shape, generator=draw) * 3).to(kind) for shape in shapes] for kind in KINDS
        },
        "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "shared": [grid, grid.T, grid[1], torch.nn.Parameter(grid)],
        "numbers": [1, -(2**70), 0.1, 1e300, float("inf"), float("-inf"), float("nan"), True, False, None, -0.0],
        "text": ["", "ä\n\x00 \u2028", "$tensor"],
        "keys": {0: "a", 1: {"$tuple": [1]}, "0": "b", "a/b": grid, "a": {"b": grid + 1}, True and 7: ()},
        "nested": ((1, (2, [3, ()])), {}, []),
    }
    save_checkpoint(tmp_path, 7, state, keep=2)
    step, found, warnings = loaded(tmp_path)
    assert (step, warnings) == (7, [])
    assert same(found, state | {"shared": [tensor.detach() for tensor in state["shared"]]})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
), max_leaves=8))  # fmt: skip
def test_whatever_is_plain_comes_back(value) -> None:
    tensors: dict[str, torch.Tensor] = {}
    text = canonical_json(pack({"value": value}, tensors))
    assert same(unpack(json.loads(text), tensors), {"value": value})


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(3), {1.5: 2}, {(1,): 2}, object(), {1, 2}, b"bytes"])
def test_what_json_and_tensors_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, value) -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        save_checkpoint(tmp_path / "c", 1, {"value": [value]}, keep=1)
    with pytest.raises(TypeError, match="warnings"):
        save_checkpoint(tmp_path / "c", 1, {"warnings": 1}, keep=1)
    assert not (tmp_path / "c").exists()


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        x = torch.randn(4, 5) + random.random() + np.random.random()
        optimizer.zero_grad()
        torch.nn.functional.dropout(model(x), 0.3).square().sum().backward()
        optimizer.step()


def start() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 2))
    groups = [{"params": model[0].parameters(), "lr": 1e-2}, {"params": model[2].parameters(), "weight_decay": 0.0}]
    return model, torch.optim.AdamW(groups, lr=1e-3, amsgrad=True)


def test_a_run_goes_on_as_if_it_had_not_been_broken(tmp_path: Path) -> None:
    model, optimizer = start()
    train(model, optimizer, 3)
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng_state()}
    save_checkpoint(tmp_path, 3, saved, keep=2)
    train(model, optimizer, 4)
    fresh, other = start()
    train(fresh, other, 11)
    _, state, _ = loaded(tmp_path)
    fresh.load_state_dict(state["model"])
    other.load_state_dict(state["optimizer"])
    set_rng_state(state["rng"])
    assert all(
        entry["step"].dtype == torch.float32 and entry["step"] == 3 for entry in other.state_dict()["state"].values()
    )
    train(fresh, other, 4)
    assert same(dict(fresh.state_dict()), dict(model.state_dict()))
    assert same(other.state_dict(), optimizer.state_dict())


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    random.gauss(0, 1), np.random.standard_normal()  # both keep half of a pair
    save_checkpoint(tmp_path, 1, {"rng": rng_state()}, keep=1)

    def drawn() -> list:
        return [random.gauss(0, 1), random.random(), *np.random.standard_normal(3), *torch.randn(3).tolist()]

    expected = drawn()
    set_rng_state(loaded(tmp_path)[1]["rng"])
    assert drawn() == expected
    for wrong in ({}, {**rng_state(), "python": 3}, {**rng_state(), "torch": torch.zeros(3)}):
        with pytest.raises(DataError):
            set_rng_state(wrong)


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none") is None
    for step in (1, 5, 12, 100):
        assert save_checkpoint(tmp_path, step, small(step), keep=2) == tmp_path / f"step-{step:08d}"
    assert names(tmp_path) == ["step-00000012", "step-00000100"]
    save_checkpoint(tmp_path, 123_456_789, small(3), keep=3)
    assert len(names(tmp_path)) == 3
    assert loaded(tmp_path)[0] == 123_456_789
    save_checkpoint(tmp_path, 123_456_790, small(3), keep=1)
    assert names(tmp_path) == ["step-123456790"]


def test_what_the_run_went_back_on_goes_and_the_whole_one_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, small(step), keep=3)
    flip(tmp_path / "step-00000002/tensors.safetensors")
    flip(tmp_path / "step-00000003/tensors.safetensors")
    assert loaded(tmp_path)[0] == 1
    # The damaged second is no second: the first, which is whole, stays beside the new one.
    save_checkpoint(tmp_path, 2, small(2), keep=2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    flip(tmp_path / "step-00000002/tensors.safetensors")
    save_checkpoint(tmp_path, 4, small(4), keep=2)
    assert names(tmp_path) == ["step-00000001", "step-00000004"]


def _drop(name: str):
    return lambda path: (path / name).unlink()


def _cut(name: str):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:-5])


def _card(**changes):
    def change(path: Path) -> None:
        card = json.loads((path / "card.json").read_text())
        (path / "card.json").write_text(json.dumps(card | changes))

    return change


DAMAGE = {
    "a flipped byte of a tensor": lambda path: flip(path / "tensors.safetensors"),
    "a flipped byte of the header": lambda path: flip(path / "tensors.safetensors", 12),
    "a flipped byte of the state": lambda path: flip(path / "state.json"),
    "half a file": _cut("tensors.safetensors"),
    "half a state": _cut("state.json"),
    "half a card": _cut("card.json"),
    "no card": _drop("card.json"),
    "no state": _drop("state.json"),
    "no tensors": _drop("tensors.safetensors"),
    "an empty folder": lambda path: (shutil.rmtree(path), path.mkdir()),
    "a card of another kind": lambda path: (path / "card.json").write_text("[1]"),
    "a card without files": _card(files=7),
    "a card without hashes": _card(files={"tensors.safetensors": 1, "state.json": {}}),
    "another schema": _card(schema="stamp_train.checkpoint/9"),
    "another step": _card(step=7),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path: Path, damage) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, small(step), keep=2)
    damage(tmp_path / "step-00000002")
    step, state, warnings = loaded(tmp_path)
    assert (step, len(warnings)) == (1, 1)
    assert same(state, small(1))
    assert "step-00000002 is damaged" in warnings[0]
    damage(tmp_path / "step-00000001")
    with pytest.raises(IntegrityError) as caught:
        load_checkpoint(tmp_path)
    assert (caught.value.facts.code, caught.value.exit_code) == ("no-whole-checkpoint", 6)
    assert all(name in str(caught.value) for name in ("step-00000001", "step-00000002"))


def recard(path: Path) -> None:
    """Give a checkpoint a card that fits what is in it, as somebody who means harm would."""
    card = json.loads((path / "card.json").read_text())
    for name, entry in card["files"].items():
        entry |= {"sha256": sha256_file(path / name), "bytes": (path / name).stat().st_size}
    (path / "card.json").write_text(json.dumps(card))


def test_a_state_that_lies_beside_a_fitting_card_is_damaged(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, small(1), keep=2)
    for content in ([], {"$tensor": "nothing"}, {"$tuple": 3}, {"$pairs": [1]}, {"warnings": []}, {"$number": "x"}, 5):
        whole = {"schema": "stamp_train.checkpoint/1", "step": 1, "state": content}
        (path / "state.json").write_text(json.dumps(whole))
        recard(path)
        with pytest.raises(IntegrityError):
            load_checkpoint(tmp_path)
    (path / "state.json").write_text("[" * 100_000)
    recard(path)
    with pytest.raises(IntegrityError):
        load_checkpoint(tmp_path)


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch", "old torch"])
@pytest.mark.parametrize("name", ["tensors.safetensors", "tensors.pt", "model.bin"])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int | str, name: str) -> None:
    save_checkpoint(tmp_path, 1, small(1), keep=2)
    path, mark = save_checkpoint(tmp_path, 2, small(2), keep=2), tmp_path / "it ran"
    if name != "tensors.safetensors":
        (path / "tensors.safetensors").unlink()
    if isinstance(protocol, int):
        (path / name).write_bytes(pickle.dumps(Bomb(mark), protocol=protocol))
    else:
        torch.save(Bomb(mark), path / name, _use_new_zipfile_serialization=protocol == "torch")
    if name == "tensors.safetensors":
        recard(path)
    with pytest.raises(HostileError) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.exit_code == 8
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # noqa: S301  # it would have
    assert mark.exists()


def test_the_oldest_pickles_are_not_run_either(tmp_path: Path) -> None:
    path, mark = save_checkpoint(tmp_path, 1, small(1), keep=2), tmp_path / "it ran"
    (path / "tensors.safetensors").write_bytes(pickle.dumps(Bomb(mark), protocol=0))
    recard(path)
    with pytest.raises(IntegrityError):
        load_checkpoint(tmp_path)
    assert not mark.exists()


def test_tensors_whose_header_begins_like_a_pickle_are_no_pickle(tmp_path: Path) -> None:
    # The first bytes of a file are the length of its header: 640 = 80 02 in hexadecimal, as pickle's protocol 2.
    heads = set()
    for length in range(300, 700, 8):
        path = save_checkpoint(tmp_path, 1, {"x" * length: torch.zeros(1)}, keep=1)
        heads.add((path / "tensors.safetensors").read_bytes()[:2])
        assert loaded(tmp_path)[0] == 1
    assert b"\x80\x02" in heads


def killed_at(event: int, folder: Path, step: int) -> bool:
    """Save in a child that is killed before its n-th touch of the file system; whether it got to the end."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(name: str, arguments: tuple) -> None:
            nonlocal seen
            if name in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.listdir"):
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            save_checkpoint(folder, step, small(step), keep=2)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_killed_at_any_moment_of_saving_the_last_whole_one_loads(tmp_path: Path) -> None:
    import safetensors.torch  # noqa: F401  # the child shall not import it under watch

    steps = set()
    for step in (1, 2):
        save_checkpoint(tmp_path / "before", step, small(step), keep=2)
    for event in range(1, 200):
        folder = tmp_path / str(event)
        shutil.copytree(tmp_path / "before", folder)
        finished = killed_at(event, folder, 3)
        step, state, warnings = loaded(folder)
        assert step in (2, 3)
        assert same(state, small(step))
        assert warnings == []
        assert step == 3 or not finished
        steps.add(step)
        # The next save clears away what the killed one left.
        save_checkpoint(folder, 4, small(4), keep=2)
        assert names(folder) == [f"step-{step:08d}", "step-00000004"]
        if finished:
            break
    assert finished
    assert event > 15
    assert steps == {2, 3}


def test_what_is_aside_is_no_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, small(1), keep=2)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000009.partial-host-1-0123abcd")
    (tmp_path / "step-00000008").write_text("a file")
    (tmp_path / "step-8").mkdir()
    (tmp_path / "notes").mkdir()
    step, _, warnings = loaded(tmp_path)
    assert (step, warnings) == (1, [])


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [save_checkpoint(tmp_path / name, 1, small(1) | {"b": 1, "a": 2}, keep=1) for name in "ab"]
    paths.append(save_checkpoint(tmp_path / "c", 1, {"a": 2, "b": 1, **small(1)}, keep=1))
    assert len({tuple(sha256_file(file) for file in sorted(path.iterdir())) for path in paths}) == 1


def test_a_file_that_is_no_tensors_beside_a_fitting_card(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, small(1), keep=1)
    save_file({"other": torch.zeros(1)}, path / "tensors.safetensors")
    recard(path)
    with pytest.raises(IntegrityError):
        load_checkpoint(tmp_path)
