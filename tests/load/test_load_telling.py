"""What a run says of itself: its rank and world size, and how many pairs stay out; once, and where one looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from humanst.errors import UsageError
from humanst.load import EpochSampler, PairDataset, PairStream, SlideBatchSampler, dataloader
from humanst.load.telling import logger, tell


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    tell.cache_clear()
    yield
    tell.cache_clear()


def without_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a script that sets up no logging; pytest has handlers at the root, a command run before one too."""
    monkeypatch.setattr(logging.getLogger("humanst"), "propagate", False)
    for name in ("humanst", "humanst.load"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])


def test_without_logging_it_is_written_once_on_standard_error(
    uneven_release: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_logging(monkeypatch)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for _ in range(2):
        stream = PairStream(uneven_release.path, "train", tail="drop", batch_size=5)
        sampler = EpochSampler(len(PairDataset(uneven_release.path, "train")), tail="drop", batch_size=5)
        for epoch in range(2):
            stream.set_epoch(epoch)
            sampler.set_epoch(epoch)
            assert len(list(stream)) == len(list(sampler)) == 20
    said = capsys.readouterr()
    assert said.out == ""
    rank, left_out = said.err.splitlines()
    assert rank == "humanst: rank 0 of 2 (from the environment)"
    assert left_out.startswith("humanst: 7 of 47 pairs are left out")
    assert stream.n_left_out == sampler.n_left_out == 7


def test_the_other_ranks_say_their_rank_alone(
    uneven_release: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_logging(monkeypatch)
    PairStream(uneven_release.path, "train", tail="drop", batch_size=5, rank=1, world=2)
    assert capsys.readouterr().err == "humanst: rank 1 of 2 (from the call)\n"
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    PairStream(uneven_release.path, "train")
    assert "rank 0 of 1" in capsys.readouterr().err, "eight of these tell that eight processes read the same"


def test_with_logging_it_is_a_line_at_level_info(
    uneven_release: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "humanst.load"):
        for _ in range(2):
            SlideBatchSampler(PairDataset(uneven_release.path, "train"), slides=2, per_slide=12, rank=0, world=1)
    rank, left_out = caplog.messages
    assert rank == "rank 0 of 1 (from the call)"
    assert "of 47 pairs are left out: their slides have fewer than 12" in left_out
    assert {record.name for record in caplog.records} == {logger.name}
    assert capsys.readouterr().err == ""


def test_ranks_with_unequal_steps_are_warned_of(
    torch: ModuleType, uneven_release: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """47 pairs over 2 ranks are 23 and 24: 1 and 2 batches of 23, but 6 of 4 for both."""
    for stream in (False, True):
        for batch_size, n_warned in ((23, 1), (4, 0)):
            caplog.clear()
            dataloader(uneven_release.path, batch_size, stream=stream, rank=0, world=2, workers=0)
            warned = [record for record in caplog.records if record.levelno == logging.WARNING]
            assert len(warned) == n_warned
            assert all("1 or 2 batches" in record.getMessage() for record in warned)
        caplog.clear()
        dataloader(uneven_release.path, 23, stream=stream, rank=0, world=2, workers=0, tail="drop")
        dataloader(uneven_release.path, 23, stream=stream, rank=0, world=2, workers=0, shuffle=False)
        assert not [record for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("world", "batch_size", "fits"), [(1, 48, "at most 47"), (3, 16, "at most 15"), (50, 1, "47 ranks")]
)
def test_dropping_everything_is_refused_with_the_number_that_would_do(
    uneven_release: Any, world: int, batch_size: int, fits: str
) -> None:
    options: dict[str, Any] = {"rank": 0, "world": world, "tail": "drop", "batch_size": batch_size}
    for make in (lambda: PairStream(uneven_release.path, "train", **options), lambda: EpochSampler(47, **options)):
        with pytest.raises(UsageError, match=fits):
            make()
    assert len(EpochSampler(0, **options)) == 0, "an empty split has nothing to leave out"


def test_a_condition_that_selects_nothing_is_warned_of_and_gives_nothing(
    torch: ModuleType, uneven_release: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for stream in (False, True):
        caplog.clear()
        loader = dataloader(uneven_release.path, 4, stream=stream, where="row == 999", workers=0)
        assert (len(loader), list(loader)) == (0, [])
        assert any("row == 999" in record.getMessage() for record in caplog.records)
    for way in ({"balance": "platform"}, {"slides": {"slides": 1, "per_slide": 1}}):
        with pytest.raises(UsageError):
            dataloader(uneven_release.path, where="row == 999", workers=0, **way)
