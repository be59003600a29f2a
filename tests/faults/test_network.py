"""F01 to F08: a bad line, a bad host, several at once, and a cache that rots; ``humanst fetch`` of one file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.board import Seen, judge, seen_of, unfinished
from tests.faults.sections import one_section
from tests.fetch.conftest import on_disk
from tests.fetch.one_file import BODY, NAME, online_env, write_catalog
from tests.helpers import run_humanst
from tests.server import FaultServer, serving

MIB = 1 << 20
FINAL = f"sources/tiny/{NAME}"
SHORT_PAUSES = "from humanst.fetch import filling; filling.BACKOFF_S = 0.05"
BUDGET_S = 1.0


@dataclass
class Net:
    """A server, a catalog of one file, and a cache a case."""

    folder: Path
    server: FaultServer
    catalog: Path
    n: int = 0

    def new_cache(self) -> Path:
        self.n += 1
        return self.folder / f"cache{self.n}"

    def fetch(self, fault: str, cache: Path, *, first: str = "", **more: str) -> tuple[int, str, str, float]:
        """Exit code, stdout, stderr and seconds of ``humanst fetch tiny --json``."""
        env = online_env(self.server, fault, self.catalog, cache, **more)
        start = time.monotonic()
        result = run_humanst("fetch", "tiny", "--json", env=env, first=f"{SHORT_PAUSES}\n{first}")
        return result.returncode, result.stdout, result.stderr, time.monotonic() - start

    def refused(self, fault: str, wanted: int, code: str, *, case: str = "", tries: int = 0, **more: str) -> Seen:
        """A fault that leaves no file behind; asked of the host ``tries`` times, where that is promised."""
        cache = self.new_cache()
        self.server.hits.clear()
        found, out, _, _ = self.fetch(fault, cache, **more)
        asked = sum(self.server.hits.values())
        wrong = f"asked {asked} times, not {tries}" if tries and asked != tries else ""
        return seen_of(case or fault, found, out, wanted, code, left=sorted(on_disk(cache)), wrong=wrong)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with serving() as server:
        server.bodies[NAME] = server.bodies[f"tiny/{NAME}"] = BODY
        yield Net(tmp_path, server, write_catalog(tmp_path))


def right(cache: Path) -> str:
    """What is wrong with the file in a cache."""
    path = cache / FINAL
    if not path.exists():
        return "no file"
    return "" if path.read_bytes() == BODY else "other bytes under the final name"


def test_f01_short_body(net: Net) -> None:
    cases = [
        net.refused("short", 6, "body-short", case="with its length", tries=3),
        net.refused("short-unsaid", 6, "body-short", case="without a length", tries=3),
    ]
    judge("F01", cases)


def test_f02_flipped_byte(net: Net) -> None:
    judge("F02", [net.refused("flip", 6, "hash-differs")])


def test_f03_login_page(net: Net) -> None:
    seen = net.refused("html", 6, "html-page")
    assert seen.message is not None
    assert "HTML page" in seen.message.text
    judge("F03", [seen])


def test_f04_stall(net: Net) -> None:
    cases = []
    # What starting the command takes on this machine now is no matter of the budget.
    *_, start_s = net.fetch("ok", net.new_cache())
    for fault, case in (("drip", "a byte each 20 ms"), ("stall", "a third, then nothing"), ("drip-head", "no head")):
        cache = net.new_cache()
        code, out, _, seconds = net.fetch(fault, cache, HUMANST_FETCH_BUDGET_S=str(BUDGET_S))
        late = f"ended after {seconds:.1f} s" if seconds > start_s + BUDGET_S + 2 else ""
        cases.append(seen_of(case, code, out, 7, "time-budget", left=sorted(on_disk(cache)), wrong=late))
    judge("F04", cases)


def test_f05_redirect_away(net: Net) -> None:
    with serving() as other:
        other.bodies[f"tiny/{NAME}"] = BODY
        net.server.away = f"http://{other.host}"
        cases = [
            net.refused("redirect-away", 8, "redirect-away", case="another port"),
            net.refused("redirect-file", 8, "redirect-away", case="file:"),
        ]
        assert sum(other.hits.values()) == 0
    judge("F05", cases)


def test_f06_resume(net: Net) -> None:
    cases = []
    for fault, most in (("resume", len(BODY) + MIB), ("no-range", 2 * len(BODY)), ("blind", 2 * len(BODY))):
        cache = net.new_cache()
        # One try a run: the second run finds what the first one left.
        once = "from humanst.fetch.filling import Patience as P; i = P.__init__\n"
        once += "P.__init__ = lambda self, **options: i(self, **{**options, 'tries': 1})"
        code, out, _, _ = net.fetch(fault, cache, first=once)
        first = seen_of(f"{fault}: cut", code, out, 6, "body-short", left=sorted(on_disk(cache)))
        code, out, _, _ = net.fetch(fault, cache)
        sent = net.server.sent[f"/{fault}/tiny/{NAME}"]
        wrong = right(cache) or (f"{sent:,} bytes sent" if sent > most else "")
        cases += [first, seen_of(f"{fault}: again", code, out, 0, left=unfinished(cache), wrong=wrong)]
    judge("F06", cases)


_EIGHT = """
import atexit, os
{unlock}
children = []
while len(children) < 7:
    children.append(os.fork())
    if children[-1] == 0:
        break
else:
    def wait():
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.write(os.open({said!r}, os.O_WRONLY | os.O_CREAT), repr(codes).encode())
    atexit.register(wait)
"""
_UNLOCK = """
import contextlib
from humanst import files
files.locked = lambda *args, **more: contextlib.nullcontext()
"""


def test_f07_two_fetchers(net: Net) -> None:
    cases = []
    net.server.pause_s = 0.002
    for case, unlock, most in (("with the lock", "", 1), ("without it", _UNLOCK, 8)):
        cache, said = net.new_cache(), net.folder / f"codes{net.n}"
        net.server.hits.clear()
        code, _, _, _ = net.fetch("slow", cache, first=_EIGHT.format(unlock=unlock, said=str(said)))
        codes, asked = said.read_text(), sum(net.server.hits.values())
        wrong = right(cache) or (f"the others ended with {codes}" if codes != repr([0] * 7) else "")
        wrong = wrong or (f"{asked} requests" if asked > most else "")
        cases.append(Seen(case, (0,), code, left=sorted(on_disk(cache) - {FINAL}) + unfinished(cache), wrong=wrong))
    judge("F07", cases)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rotten_with_its_time(folder: Path) -> Seen:
    """Rot that leaves size and time, which no stamp can know of: a build hashes, and the next fetch mends."""
    atlas = one_section("st", folder / "atlas")
    cache, store = folder / "cache", folder / "store"
    assert run_humanst("fetch", "lab", atlas=atlas.folder, cache=cache).returncode == 0
    (image,) = (cache / "sources").rglob("*.jpg")
    whole, times = image.read_bytes(), image.stat()
    flip(image)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = run_humanst("build", "lab", "-o", str(store), "--json", atlas=atlas.folder, cache=cache)
    left = [*unfinished(folder), *(path.name for path in store.rglob("*.zarr"))]
    mended = run_humanst("fetch", "lab", atlas=atlas.folder, cache=cache).returncode == 0
    wrong = "" if mended and image.read_bytes() == whole else "it stayed rotten"
    return seen_of("its time kept", result.returncode, result.stdout, 6, "cache-rotten", left=left, wrong=wrong)


def test_f08_local_rot(net: Net, tmp_path: Path) -> None:
    cache = net.new_cache()
    assert net.fetch("ok", cache)[0] == 0
    flip(cache / FINAL)
    code, out, _, _ = net.fetch("ok", cache, HUMANST_OFFLINE="1")
    kept = hashlib.sha256((cache / FINAL).read_bytes()).hexdigest() if (cache / FINAL).exists() else ""
    served = "taken as it was" if code == 0 and kept != hashlib.sha256(BODY).hexdigest() else ""
    offline = seen_of("offline", code, out, (6, 7), wrong=served)
    code, out, err, _ = net.fetch("ok", cache)
    wrong = right(cache) or ("" if "large.bin" in err else "nothing was said")
    online = seen_of("online", code, out, 0, left=unfinished(cache), wrong=wrong)
    judge("F08", [offline, online, rotten_with_its_time(tmp_path)])
