"""``humanst publish``: what verify accepts and may be passed on goes to a folder or to the Hub, whole, and goes on."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from humanst.cli import humanst
from humanst.errors import HumanstError, IntegrityError, NetworkError
from humanst.fetch import hub
from humanst.files import partial_path
from humanst.shards import publishing, publishing_folder
from humanst.shards.seal import seal
from humanst.shards.verify import verify_release
from tests.cli.test_json import keep_promise
from tests.fetch.hub_server import REPOSITORY, TOKEN, HubServer, hub_serving
from tests.fetch.small_release import sha
from tests.shards.conftest import digests
from tests.shards.drawn_release import Drawn, write_drawn

pytestmark = pytest.mark.xdist_group("publish")
A, B, C = Drawn(1, "train", 1, False), Drawn(5, "train", 5, False), Drawn(2, "val", 2, False)
SHUT = Drawn(3, "train", 3, True)


def made(folder: Path, shape: dict[str, list[list[Drawn]]]) -> Path:
    write_drawn(folder, shape)
    seal(folder, json.loads((folder / "MANIFEST.json").read_bytes()))
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sections that may be passed on, in three shards. Read only."""
    return made(tmp_path_factory.mktemp("open") / "release", {"train": [[A, B], [B]], "val": [[C]], "test": []})


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of it after a takedown. Read only."""
    return made(tmp_path_factory.mktemp("smaller") / "release", {"train": [[A]], "val": [], "test": []})


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The JSON object; of a failure, its own."""
    result = CliRunner().invoke(humanst, ["publish", *map(str, arguments), "--json"], standalone_mode=False)
    assert TOKEN not in result.output
    if code:
        assert isinstance(result.exception, HumanstError), result.exception
        assert result.exception.exit_code == code, result.exception
        assert TOKEN not in str(result.exception)
        return result.exception.to_dict()
    assert result.exception is None, result.exception
    content: dict[str, Any] = json.loads(result.stdout)
    keep_promise("publish", content)
    return content


def test_the_first_thing_is_to_say_what_would_be_sent(release: Path, tmp_path: Path) -> None:
    expected = digests(release)
    for arguments in ((), ("--dry-run",)):
        content = run(release, "--to", tmp_path / "out", *arguments)
        assert {file["path"]: file["sha256"] for file in content["files"]} == expected
        assert {file["state"] for file in content["files"]} == {"send"}
        assert content["send_bytes"] == sum(path.stat().st_size for path in release.rglob("*") if path.is_file())
        assert not content["sent"]
        assert content["files"][-1]["path"] == "MANIFEST.json"
        assert sum(row["sections"] for row in content["licenses"]) == 3
        assert not (tmp_path / "out").exists()
    text = CliRunner().invoke(humanst, ["publish", str(release), "--to", str(tmp_path / "out")])
    assert "--confirm" in text.stderr
    assert "CC0-1.0: 3 sections" in text.stdout
    run(release, "--to", tmp_path / "out", "--dry-run", "--confirm", code=2)


def test_a_dry_run_for_the_hub_asks_nobody_and_needs_no_token(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    content = run(release, "--to", "hf://lab/atlas")
    assert (content["sent"], content["asked"]) == (False, False)
    assert content["to"] == "hf://datasets/lab/atlas@main"
    assert content["send_files"] == content["n_files"] == len(digests(release))


def test_to_a_folder_whole_and_a_second_time_nothing(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    content = run(release, "--to", out, "--confirm")
    assert content["sent"]
    assert digests(out) == digests(release)
    verify_release(out).raise_if_bad()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in out.rglob("*") if path.is_file()}
    again = run(release, "--to", out, "--confirm")
    assert (again["send_files"], again["there_files"]) == (0, content["n_files"])
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before
    (out / "MANIFEST.json").unlink()
    next(out.glob("data/train/*.tar")).write_bytes(b"damaged")
    assert run(release, "--to", out, "--confirm")["send_files"] == 2
    assert digests(out) == digests(release)


def test_a_kill_at_any_file_leaves_no_manifest_and_is_gone_on_with(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, copies = tmp_path / "out", []
    real = publishing_folder._copy
    n_files = len(digests(release))

    def copy(path: Path, target: Path, name: str, sha256: str) -> None:
        if len(copies) and len(copies) % 4 == 0 and copies[-1] != "stopped":
            copies.append("stopped")
            raise KeyboardInterrupt
        real(path, target, name, sha256)
        copies.append(name)

    monkeypatch.setattr(publishing_folder, "_copy", copy)
    target = publishing.Target(folder=out)
    stops = 0
    while True:
        try:
            publishing.publish(release, target, send=True)
            break
        except KeyboardInterrupt:
            stops += 1
            assert not (out / "MANIFEST.json").exists()
    assert stops >= 2
    brought = [name for name in copies if name != "stopped"]
    assert len(brought) == len(set(brought)) == n_files, "no file twice"
    assert brought[-1] == "MANIFEST.json"
    assert digests(out) == digests(release)


def test_an_earlier_release_is_replaced_and_nothing_of_it_stays(release: Path, smaller: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(release, "--to", out, "--confirm")
    planned = run(smaller, "--to", out)
    gone = {file["path"] for file in planned["files"] if file["state"] == "remove"}
    assert gone == set(digests(release)) - set(digests(smaller))
    assert digests(out) == digests(release)
    run(smaller, "--to", out, "--confirm")
    assert digests(out) == digests(smaller)


def test_while_a_release_is_replaced_the_folder_counts_as_unfinished(
    release: Path, smaller: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(release, "--to", out, "--confirm")
    manifests = []
    real = publishing_folder._copy

    def copy(path: Path, target: Path, name: str, sha256: str) -> None:
        manifests.append((out / "MANIFEST.json").exists())
        real(path, target, name, sha256)

    monkeypatch.setattr(publishing_folder, "_copy", copy)
    run(smaller, "--to", out, "--confirm")
    assert len(manifests) > 2
    assert not any(manifests)


def test_what_may_not_be_passed_on_is_not(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = made(tmp_path / "closed", {"train": [[A, SHUT], [SHUT]], "val": [], "test": []})
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for to in (tmp_path / "out", "hf://lab/atlas"):
        for confirm in ((), ("--confirm",)):
            told = run(closed, "--to", to, *confirm, code=3)
            assert told["code"] == "not-redistributable"
            assert "sample_3" in told["found"]
            assert "sample_1" not in told["found"]
            assert "humanst export" in told["todo"]
    assert not (tmp_path / "out").exists()
    export = ["export", str(closed), "--redistributable", "-o", str(tmp_path / "public")]
    assert CliRunner().invoke(humanst, export).exit_code == 0
    run(tmp_path / "public", "--to", tmp_path / "out", "--confirm")
    assert digests(tmp_path / "out") == digests(tmp_path / "public")


def test_a_licence_outweighs_what_a_manifest_says_of_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "closed", {"train": [[A, SHUT], [SHUT]], "val": [], "test": []})
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    for row in manifest["sections"]:
        row["redistributable"] = True
    seal(folder, manifest)
    verify_release(folder).raise_if_bad()
    assert "sample_3" in run(folder, "--to", tmp_path / "out", "--confirm", code=3)["found"]
    export = ["export", str(folder), "--redistributable", "-o", str(tmp_path / "public")]
    assert CliRunner().invoke(humanst, export).exit_code == 0
    assert not [name for name in digests(tmp_path / "public") if "sample_3" in name]
    run(tmp_path / "public", "--to", tmp_path / "out", "--confirm")


def test_what_the_manifest_does_not_speak_of_is_not_sent(release: Path, tmp_path: Path) -> None:
    """A shard that an earlier build left is on record with the rest, and of nobody knows which sections."""
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    shutil.copy(next(folder.glob("data/val/*.tar")), folder / "data" / "val" / "val-00009.tar")
    seal(folder, json.loads((folder / "MANIFEST.json").read_bytes()))
    verify_release(folder).raise_if_bad()
    told = run(folder, "--to", tmp_path / "out", "--confirm", code=5)
    assert (told["code"], told["file"]) == ("unknown-file", "data/val/val-00009.tar")
    assert not (tmp_path / "out").exists()


def test_what_verify_does_not_accept_is_not_sent(release: Path, tmp_path: Path) -> None:
    for name, damage in (
        ("flipped", lambda folder: next(folder.glob("data/train/*.tar")).write_bytes(b"x")),
        ("stranger", lambda folder: (folder / "notes.txt").write_text("mine")),
        ("missing", lambda folder: (folder / "samples.parquet").unlink()),
    ):
        folder = Path(shutil.copytree(release, tmp_path / name))
        damage(folder)
        run(folder, "--to", tmp_path / "out", "--confirm", code=6)
    (tmp_path / "unfinished").mkdir()
    run(tmp_path / "unfinished", "--to", tmp_path / "out", "--confirm", code=5)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_refused(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for to in (
        tmp_path / "mine",
        release,
        release / "in",
        release.parent,
        tmp_path / "file",
        "s3://bucket/x",
        "hf://x",
        "hf:/lab/atlas",
        "",
    ):
        run(release, "--to", to, "--confirm", code=2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: NoRoom)
    run(release, "--to", tmp_path / "out", "--confirm", code=9)
    assert not list((tmp_path / "out").glob("*"))


class NoRoom:
    """No room at all."""

    total, used, free = 1, 1, 0


def test_a_file_that_changed_since_it_was_checked_is_not_placed(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    real = publishing.verify_release

    def verify(path: Path, **more: Any) -> Any:
        result = real(path, **more)
        (folder / "CHANGES.md").write_text("other")
        return result

    monkeypatch.setattr(publishing, "verify_release", verify)
    run(folder, "--to", tmp_path / "out", "--confirm", code=6)
    assert not (tmp_path / "out" / "CHANGES.md").exists()
    assert not (tmp_path / "out" / "MANIFEST.json").exists()


def test_what_somebody_puts_there_while_the_release_is_verified_stays(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = publishing.verify_release

    def verify(path: Path, **more: Any) -> Any:
        out.mkdir(exist_ok=True)
        (out / "thesis.tex").write_text("mine")
        return real(path, **more)

    monkeypatch.setattr(publishing, "verify_release", verify)
    assert "thesis.tex" in run(release, "--to", out, "--confirm", code=2)["found"]
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_nothing_is_changed_through_a_link_and_hidden_files_are_told(
    release: Path, smaller: Path, tmp_path: Path
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    run(release, "--to", other, "--confirm")
    out.mkdir()
    (out / "data").symlink_to(other / "data")
    assert "data" in run(smaller, "--to", out, "--confirm", code=2)["found"]
    assert digests(other) == digests(release)
    (out / "data").unlink()
    (out / ".gitignore").write_text("*")
    for confirm in ((), ("--confirm",)):
        assert ".gitignore" in run(smaller, "--to", out, *confirm, code=2)["found"]
    assert [path.name for path in out.iterdir()] == [".gitignore"]


def test_what_a_killed_run_left_where_this_release_has_nothing_is_swept(release: Path, tmp_path: Path) -> None:
    left = partial_path(tmp_path / "out" / "targets" / "another" / "train-00000.npy")
    left.parent.mkdir(parents=True)
    # No process has this number.
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-"))
    left.write_bytes(b"half")
    run(release, "--to", tmp_path / "out", "--confirm")
    assert digests(tmp_path / "out") == digests(release)
    assert not left.exists()


def test_a_copy_that_is_not_as_sent_does_not_look_whole(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does it that loses what it was given."""
    out = tmp_path / "out"
    real = publishing.verify_release

    def verify(path: Path, **more: Any) -> Any:
        if path == out:
            next(out.glob("data/train/*.tar")).write_bytes(b"damaged")
        return real(path, **more)

    with monkeypatch.context() as damaged:
        damaged.setattr(publishing, "verify_release", verify)
        run(release, "--to", out, "--confirm", code=6)
    assert not (out / "MANIFEST.json").exists()
    assert run(release, "--to", out, "--confirm")["send_files"] == 2
    assert digests(out) == digests(release)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    import huggingface_hub.constants

    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # As it is where nobody says otherwise.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    # Pauses between tries, the library's and ours.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with hub_serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def on_hub(server: HubServer) -> dict[str, str]:
    return {name: sha(data) for name, data in server.tree.items() if name != ".gitattributes"}


TO = ("--to", f"hf://{REPOSITORY}", "--confirm")


def test_to_the_hub_in_one_commit_and_a_second_time_nothing(release: Path, server: HubServer) -> None:
    content = run(release, *TO)
    assert content["sent"]
    assert on_hub(server) == digests(release)
    assert len(server.trees) == 1, "all of it appeared at once"
    assert max(server.puts.values()) == 1
    assert ".gitattributes" in server.tree
    before = (server.head, sum(server.puts.values()))
    again = run(release, "--to", f"hf://datasets/{REPOSITORY}@main", "--confirm")
    assert (again["send_files"], again["there_files"]) == (0, content["n_files"])
    assert (server.head, sum(server.puts.values())) == before


def test_the_hub_loses_what_a_newer_release_has_not_and_keeps_what_is_the_same(
    release: Path, smaller: Path, server: HubServer
) -> None:
    run(release, *TO)
    server.puts.clear()
    content = run(smaller, *TO)
    assert on_hub(server) == digests(smaller)
    assert content["remove_files"] == len(set(digests(release)) - set(digests(smaller)))
    same = set(digests(release).items()) & set(digests(smaller).items())
    assert content["there_files"] == len(same)


def test_what_fails_for_a_moment_is_tried_again(release: Path, server: HubServer) -> None:
    for kind in ("info", "tree", "preupload", "batch", "put", "commit"):
        server.faults[kind] = [503]
    server.faults["put"] = [500, 0]
    run(release, *TO)
    assert on_hub(server) == digests(release)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(release: Path, server: HubServer) -> None:
    server.faults["after commit"] = [502]
    run(release, *TO)
    assert len(server.trees) == 1
    assert on_hub(server) == digests(release)


def test_a_run_that_was_cut_goes_on(release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BATCH_FILES", 2)

    def stop(step: str, done: int, total: int, pairs: int) -> None:
        if step == "send" and done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publishing.publish(release, publishing.target_of(f"hf://{REPOSITORY}"), send=True, progress=stop)
    assert on_hub(server) == {}, "nothing is seen of what was cut"
    assert len(server.objects) > 0
    run(release, *TO)
    assert on_hub(server) == digests(release)
    assert max(server.puts.values()) == 1, "no file was sent twice"


def test_hf_xet_is_left_aside_and_left_as_it_was(release: Path, server: HubServer) -> None:
    """It is here, for huggingface_hub brings it along; the hub would be asked for a token of its store."""
    import huggingface_hub.constants

    pytest.importorskip("hf_xet", reason="without it nothing is left aside")
    run(release, *TO)
    assert server.asked["xet"] == 0
    assert server.asked["put"] > 0
    assert huggingface_hub.constants.HF_HUB_DISABLE_XET is False


@pytest.mark.parametrize("how", ["gone before it is read", "gone before it is sent", "a disk that fails"])
def test_a_file_that_cannot_be_read_here_is_no_matter_of_the_network(
    release: Path, tmp_path: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    monkeypatch.setattr(hub, "_BATCH_FILES", 1)
    shards = sorted(folder.glob("data/*/*.tar"))

    def tell(step: str, done: int, total: int, pairs: int) -> None:
        # A shard is sent after this one; a file to which no memory belongs can be opened and not be read.
        if (step, done) == (("verify", total) if how == "gone before it is read" else ("send", 1)):
            shards[-1].unlink()
            if how == "a disk that fails":
                shards[-1].symlink_to("/proc/self/mem")

    with pytest.raises(IntegrityError) as caught:
        publishing.publish(folder, publishing.target_of(f"hf://{REPOSITORY}"), send=True, progress=tell)
    assert (caught.value.exit_code, caught.value.facts.code) == (6, "unreadable")
    assert caught.value.facts.file == shards[-1].relative_to(folder).as_posix()
    assert TOKEN not in str(caught.value)
    assert on_hub(server) == {}


def test_a_file_that_cannot_be_read_is_told_of_a_folder_too(release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    shard = max(folder.glob("data/*/*.tar"))

    def tell(step: str, done: int, total: int, pairs: int) -> None:
        if step == "copy":
            shard.unlink(missing_ok=True)

    with pytest.raises(IntegrityError) as caught:
        publishing.publish(folder, publishing.Target(folder=tmp_path / "out"), send=True, progress=tell)
    assert (caught.value.facts.code, caught.value.facts.file) == ("unreadable", shard.relative_to(folder).as_posix())
    assert not (tmp_path / "out" / "MANIFEST.json").exists()


def test_several_commits_end_with_the_manifest(
    release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_COMMIT_FILES", 5)
    run(release, *TO)
    assert on_hub(server) == digests(release)
    assert len(server.trees) > 2
    assert [("MANIFEST.json" in tree) for tree in server.trees] == [False] * (len(server.trees) - 1) + [True]


def test_refusals_of_the_hub_say_what_to_do_and_no_token(
    release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    told = run(release, *TO, code=7)
    assert told["code"] == "not-allowed"
    assert "hf_wrong" not in json.dumps(told)
    assert "Invalid credentials: Bearer ***" in told["found"]
    assert server.asked["info"] == 1, "a refusal is not asked for again"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert run(release, "--to", "hf://lab/other", "--confirm", code=7)["code"] == "not-found"
    told = run(release, "--to", f"hf://{REPOSITORY}@drafts", "--confirm", code=2)
    assert (told["code"], "drafts" in told["found"]) == ("no-branch", True)
    server.tree["thesis.pdf"] = b"mine"
    told = run(release, *TO, code=2)
    assert (told["code"], "thesis.pdf" in told["found"]) == ("strangers", True)
    del server.tree["thesis.pdf"]
    server.faults["commit"] = [412]
    assert run(release, *TO, code=7)["code"] == "changed-meanwhile"
    server.faults["preupload"] = [500] * 100
    told = run(release, *TO, code=7)
    assert told["code"] == "unreachable"
    assert "HTTP 500" in told["found"]
    assert on_hub(server) == {}
    monkeypatch.delenv("HF_TOKEN")
    assert run(release, *TO, code=2)["code"] == "no-token"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HUMANST_OFFLINE", "1")
    assert run(release, *TO, code=7)["code"] == "offline"
    monkeypatch.setenv("HUMANST_OFFLINE", "0")
    asked = sum(server.asked.values())
    monkeypatch.setenv("HUMANST_ALLOW_LOOPBACK_HTTP", "0")
    run(release, *TO, code=8)
    assert sum(server.asked.values()) == asked, "no token goes over plain http"


def test_what_the_hub_leaves_out_is_noticed(release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = hub._Hub._listed

    def forgetful(self: hub._Hub) -> tuple[str, dict[str, Any]]:
        head, listed = real(self)
        return head, {name: entry for name, entry in listed.items() if name != "samples.parquet"}

    monkeypatch.setattr(hub._Hub, "_listed", forgetful)
    with pytest.raises(NetworkError, match=r"samples\.parquet") as caught:
        publishing.publish(release, publishing.target_of(f"hf://{REPOSITORY}"), send=True)
    assert caught.value.facts.code == "not-as-sent"


def test_an_earlier_release_is_withdrawn_before_several_commits_replace_it(
    release: Path, smaller: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(release, *TO)
    server.trees.clear()
    monkeypatch.setattr(hub, "_COMMIT_FILES", 5)
    run(smaller, *TO)
    assert on_hub(server) == digests(smaller)
    assert len(server.trees) > 2
    assert [("MANIFEST.json" in tree) for tree in server.trees] == [False] * (len(server.trees) - 1) + [True]
    assert set(digests(release)) - {"MANIFEST.json"} == server.trees[0] - {".gitattributes"}, "and nothing else yet"


def test_a_file_that_changed_since_it_was_checked_does_not_reach_the_hub(
    release: Path, tmp_path: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "release"))
    real = publishing.verify_release

    def verify(path: Path, **more: Any) -> Any:
        result = real(path, **more)
        shard = next(folder.glob("data/train/*.tar"))
        shard.write_bytes(shard.read_bytes()[::-1])
        return result

    monkeypatch.setattr(publishing, "verify_release", verify)
    assert run(folder, *TO, code=6)["code"] == "hash-differs"
    assert on_hub(server) == {}
    assert not server.objects


def test_names_that_anybody_uses_are_no_release(release: Path, server: HubServer) -> None:
    """But for the card that the form for a new data set writes."""
    server.tree["README.md"] = b"---\nlicense: cc0-1.0\n---\n"
    server.tree["samples.parquet"] = b"mine"
    told = run(release, *TO, code=2)
    assert (told["code"], "samples.parquet" in told["found"]) == ("strangers", True)
    assert not server.trees
    del server.tree["samples.parquet"]
    run(release, *TO)
    assert on_hub(server) == digests(release)
