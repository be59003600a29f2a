"""From a run's adapter to a plain timm model, by the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from humanst.errors import DataError, UsageError
from humanst.files import sha256_file
from stamp_train.cli import main
from stamp_train.config import AlignConfig
from stamp_train.encoder import Encoder, build_encoder
from stamp_train.lora import add_lora, read_adapter_facts, save_adapter
from stamp_train.merging import adapter_file, merge_adapter, read_record, write_adapter
from stamp_train.model_folder import write_folder
from stamp_train.weights import load_into
from tests.stamp_train.small import noise_images, tiny_encoder

SEED = 3
CONFIG = AlignConfig(encoder="test_vit", weights="random", seed=SEED, lora_rank=4, lora_alpha=6.0, embedding="cls+mean")
FACTS = {
    "release": {"version": "1", "sha256": "b" * 64},
    "targets": {"set": "hallmark", "gene_sets_sha256": "a" * 64, "scorer": "mean"},
    "versions": {"humanst": "1"},
    "leakage": "LEAKAGE: told to go on",
}


def base() -> Encoder:
    return tiny_encoder(SEED, embedding="cls+mean")


def embedded(encoder: Encoder) -> np.ndarray:
    with torch.no_grad():
        return encoder(noise_images(3)).numpy()


@pytest.fixture(scope="module")
def adapted() -> Encoder:
    """The base with adapters that are not zero any more."""
    encoder = add_lora(base(), rank=4, alpha=6.0)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return encoder


@pytest.fixture(scope="module")
def kept_run(adapted: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "run"
    write_adapter(folder / "adapter", adapted, CONFIG, FACTS)
    return folder


@pytest.fixture
def run(kept_run: Path, tmp_path: Path) -> Path:
    """A run that a test may harm."""
    shutil.copytree(kept_run, tmp_path / "run")
    return tmp_path / "run"


def command(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as end:
        main(["merge", *map(str, given), "--json"])
    return int(end.value.code or 0), json.loads(capsys.readouterr().out)


def test_a_run_says_what_its_adapter_belongs_to(kept_run: Path, adapted: Encoder) -> None:
    file = adapter_file(kept_run)
    assert adapter_file(kept_run / "adapter") == adapter_file(file) == file
    facts, record = read_adapter_facts(file), read_record(file)
    assert (facts.rank, facts.alpha, facts.encoder) == (4, 6.0, "test_vit")
    assert facts.base_sha256 == base().base_sha256 == record["base"]["sha256"]
    assert (facts.gene_sets_sha256, facts.release_sha256) == ("a" * 64, "b" * 64)
    assert record["lora"]["target_modules"] == r".*blocks\.\d+\.attn\.(qkv|proj)"
    assert record["targets"]["scorer"] == "mean"
    assert record["file"]["sha256"] == sha256_file(file)
    assert record["leakage"] == FACTS["leakage"]


def test_the_same_run_gives_the_same_bytes(kept_run: Path, adapted: Encoder, tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", adapted, CONFIG, FACTS)
    for name in ("adapter.safetensors", "adapter.json"):
        assert (tmp_path / "adapter" / name).read_bytes() == (kept_run / "adapter" / name).read_bytes()


def test_merged_weights_are_the_formula_in_a_plain_model_that_gives_the_same(
    kept_run: Path, adapted: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged"
    code, told = command(capsys, kept_run, "--base", "random", "-o", out)
    assert (code, told["schema"], told["out"]) == (0, "stamp_train.merge/1", str(out))
    assert told["leakage"] == FACTS["leakage"]
    assert told["adapter"]["base_sha256"] == base().base_sha256
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]

    merged, plain = load_file(out / "model.safetensors"), base().model.state_dict()
    assert merged.keys() == timm.create_model("test_vit", num_classes=0).state_dict().keys()
    lora = load_file(kept_run / "adapter/adapter.safetensors")
    changed = 0
    for name, tensor in merged.items():
        layer = name.removesuffix(".weight")
        a, b = (lora.get(f"{layer}.lora_{letter}.default.weight") for letter in "AB")
        update = 0 if a is None else 6.0 / 4 * b.double().numpy() @ a.double().numpy()
        np.testing.assert_allclose(tensor.numpy(), plain[name].numpy() + update, atol=1e-6)
        changed += a is not None
    assert changed == len(lora) // 2 == 12

    encoder = build_encoder(str(out))
    assert encoder.base_sha256 == told["weights_sha256"]
    np.testing.assert_allclose(embedded(encoder), embedded(adapted), atol=1e-5)
    assert np.abs(embedded(adapted) - embedded(base())).max() > 0.01
    alone = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    with torch.no_grad():
        tokens = alone.forward_features(adapted.prepare(noise_images(3)))
    by_hand = torch.cat([tokens[:, 0], tokens[:, alone.num_prefix_tokens :].mean(1)], 1)
    np.testing.assert_allclose(by_hand, embedded(adapted), atol=1e-5)
    said = json.loads((out / "config.json").read_text())["humanst"]
    assert (said["leakage"], said["targets"]["set"]) == (FACTS["leakage"], "hallmark")


def test_the_base_can_be_named_in_any_way_that_leads_to_its_weights(kept_run: Path, tmp_path: Path) -> None:
    whole, file, folder = tmp_path / "whole", tmp_path / "weights.safetensors", tmp_path / "weights"
    write_folder(whole, base().model, base().facts, {})
    shutil.copy(whole / "model.safetensors", file)
    folder.mkdir()
    shutil.copy(file, folder / "model.safetensors")
    adapter = kept_run / "adapter"
    digests = set()
    for number, (source, named) in enumerate(
        (
            (kept_run, None),
            (adapter, "random"),
            (adapter / "adapter.safetensors", whole),
            (kept_run, file),
            (adapter, folder),
        )
    ):
        done = merge_adapter(source, tmp_path / f"out{number}", None if named is None else str(named))
        digests.add((done.weights_sha256, sha256_file(done.folder / "model.safetensors")))
    assert len(digests) == 1


def test_without_its_record_an_adapter_goes_into_a_base_that_is_named(run: Path, tmp_path: Path) -> None:
    (run / "adapter/adapter.json").unlink()
    write_folder(tmp_path / "whole", base().model, base().facts, {})
    done = merge_adapter(run, tmp_path / "out", str(tmp_path / "whole"))
    assert done.leakage is None
    load_into(base().model, load_file(done.folder / "model.safetensors"), done.folder)
    with pytest.raises(UsageError, match="base of this adapter is not known"):
        merge_adapter(run, tmp_path / "other")


def test_other_weights_are_refused(kept_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    write_folder(other, tiny_encoder(SEED + 1).model, base().facts, {})
    code, told = command(capsys, kept_run, "--base", other, "-o", out)
    assert (code, told["code"], told["error"]) == (6, "other-base", "IntegrityError")
    assert base().base_sha256 in told["expected"]
    assert not out.exists()
    # One number of one tensor is enough.
    tensors = {name: tensor.clone() for name, tensor in base().model.state_dict().items()}
    tensors["norm.bias"][0] += 1e-3
    save_file(tensors, tmp_path / "near.safetensors")
    assert command(capsys, kept_run, "--base", tmp_path / "near.safetensors", "-o", out)[0] == 6


def _cut(run: Path) -> None:
    file = run / "adapter/adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def _flip(run: Path) -> None:
    file = run / "adapter/adapter.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


def _unrecorded(run: Path) -> None:
    (run / "adapter/adapter.json").write_text('{"schema": "stamp_train.adapter/1"}')


def _no_header(run: Path) -> None:
    save_file({"a": torch.zeros(1)}, run / "adapter/adapter.safetensors")


def _not_finite(run: Path) -> None:
    encoder = add_lora(base(), rank=4, alpha=6.0)
    with torch.no_grad():
        dict(encoder.model.named_parameters())["blocks.0.attn.qkv.lora_B.default.weight"][0] = torch.inf
    write_adapter(run / "adapter", encoder, CONFIG, FACTS)


def _fewer_layers(run: Path) -> None:
    file = run / "adapter/adapter.safetensors"
    save_adapter(file, add_lora(base(), rank=2, alpha=6.0), read_adapter_facts(file))
    (run / "adapter/adapter.json").unlink()


def _unfinished(run: Path) -> None:
    shutil.rmtree(run / "adapter")


HARM = [
    (_cut, 6, "checkpoint-torn"),
    (_flip, 6, "adapter-changed"),
    (_unrecorded, 5, "adapter-record"),
    (_no_header, 5, "adapter-header"),
    (_not_finite, 5, "merge-not-finite"),
    (_fewer_layers, 5, "adapter-mismatch"),
    (_unfinished, 2, "no-adapter"),
]


@pytest.mark.parametrize(("harm", "exit_code", "code"), HARM)
def test_what_is_no_whole_adapter_of_the_base_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm, exit_code: int, code: str
) -> None:
    harm(run)
    write_folder(tmp_path / "whole", base().model, base().facts, {})
    found, told = command(capsys, run, "--base", tmp_path / "whole", "-o", tmp_path / "out")
    assert (found, told["code"]) == (exit_code, code)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"base": []}, {"base": {"encoder": 5}}, {"leakage": 5}, {"file": None}])
def test_a_record_of_another_shape_is_refused(run: Path, changes: dict) -> None:
    path = run / "adapter/adapter.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | changes))
    with pytest.raises(DataError, match="record of the adapter"):
        read_record(adapter_file(run))


def test_nothing_but_a_merged_model_is_replaced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    first = merge_adapter(run, out)
    assert merge_adapter(run, out) == first
    (out / "notes.txt").write_text("mine")
    plain = tmp_path / "plain"
    write_folder(plain, base().model, base().facts, {})
    for taken in (out, plain, run, run / "adapter"):
        before = sorted(path.name for path in taken.rglob("*"))
        with pytest.raises(UsageError) as caught:
            merge_adapter(run, taken)
        assert caught.value.facts.code == "not-empty"
        assert sorted(path.name for path in taken.rglob("*")) == before


def test_the_command_says_what_it_did_and_what_leaked(
    kept_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["merge", str(kept_run), "-o", str(tmp_path / "out")])
    assert not end.value.code
    told = capsys.readouterr()
    assert f"{tmp_path / 'out'}: weights sha256 " in told.out
    assert told.err == f"{FACTS['leakage']}\n"
    for wrong in (["merge", str(tmp_path / "none"), "-o", "x"], ["merge", str(kept_run)]):
        with pytest.raises(SystemExit) as end:
            main(wrong)
        assert end.value.code == 2
