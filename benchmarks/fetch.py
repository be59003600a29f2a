"""Throughput of a fetch over loopback HTTP, hashed, fsynced and placed, beside ``curl | sha256sum`` in the same run.

The server is a process of its own that sends one file with sendfile. The ways alternate; medians are told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "data/large.bin"
BLOCK_BYTES = 1 << 24
WAYS = ("curl | sha256sum", "curl to a file, sync, sha256sum", "humanst")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="size of the file [2048]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the files go [a temporary folder]")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetch", nargs=3, metavar=("MIRROR", "SHA256", "BYTES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    elif options.fetch:
        fetch(*options.fetch)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(Path(folder), options.mib << 20, options.repeats, options.json)


def compare(folder: Path, n_bytes: int, repeats: int, as_json: bool) -> None:
    body = folder / "served.bin"
    sha256 = write_body(body, n_bytes)
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(body)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            base = next(iter(server.stdout or ())).strip()
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(repeats):
                seconds[WAYS[0]].append(time_curl(f"{base}/tiny/{NAME}", sha256))
                seconds[WAYS[1]].append(time_curl_file(f"{base}/tiny/{NAME}", sha256, folder))
                seconds[WAYS[2]].append(time_fetch(base, sha256, n_bytes, folder))
        finally:
            server.terminate()
    rates = {way: n_bytes / 2**20 / statistics.median(taken) for way, taken in seconds.items()}
    share = rates[WAYS[2]] / rates[WAYS[0]]
    if as_json:
        print(json.dumps({"mib": n_bytes >> 20, "mib_per_s": rates, "seconds": seconds, "share": share}, indent=2))
        return
    for way, rate in rates.items():
        print(f"{way:34} {rate:7,.0f} MiB/s   {', '.join(f'{taken:.2f}' for taken in seconds[way])} s")
    print(f"humanst / (curl | sha256sum)       {share:7.0%}")


def write_body(path: Path, n_bytes: int) -> str:
    """Write bytes that no layer can shrink; returns their sha256."""
    digest, block = hashlib.sha256(), os.urandom(BLOCK_BYTES)
    with path.open("wb") as handle:
        for start in range(0, n_bytes, BLOCK_BYTES):
            part = start.to_bytes(8, "big") + block[8 : min(BLOCK_BYTES, n_bytes - start)]
            handle.write(part)
            digest.update(part)
        handle.flush()
        os.fsync(handle.fileno())
    return digest.hexdigest()


def require(found: str, expected: str) -> None:
    if found != expected:
        raise SystemExit(f"a way did not give the file: found {found}, expected {expected}")


def time_curl(url: str, sha256: str) -> float:
    start = time.perf_counter()
    with subprocess.Popen(["curl", "-s", url], stdout=subprocess.PIPE) as curl:
        found = subprocess.run(["sha256sum"], stdin=curl.stdout, capture_output=True, text=True, check=True).stdout
    taken = time.perf_counter() - start
    require(found.split()[0], sha256)
    return taken


def time_curl_file(url: str, sha256: str, folder: Path) -> float:
    target = folder / "curl.bin"
    start = time.perf_counter()
    subprocess.run(["curl", "-s", "-o", str(target), url], check=True)
    subprocess.run(["sync", str(target)], check=True)
    found = subprocess.run(["sha256sum", str(target)], capture_output=True, text=True, check=True).stdout
    taken = time.perf_counter() - start
    require(found.split()[0], sha256)
    target.unlink()
    return taken


def time_fetch(base: str, sha256: str, n_bytes: int, folder: Path) -> float:
    """Seconds between the call and the placed file, by a process that has its modules loaded."""
    cache = folder / "cache"
    environment = {
        **os.environ,
        "HUMANST_CACHE_DIR": str(cache),
        "HUMANST_MIRROR": base,
        "HUMANST_OFFLINE": "0",
        "HUMANST_ALLOW_LOOPBACK_HTTP": "1",
    }
    command = [sys.executable, __file__, "--fetch", base, sha256, str(n_bytes)]
    taken = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    placed = cache / "sources" / "tiny" / NAME
    require(str(placed.stat().st_size), str(n_bytes))
    subprocess.run(["rm", "-r", str(cache)], check=True)
    return float(taken)


def fetch(_mirror: str, sha256: str, n_bytes: str) -> None:
    import requests  # noqa: F401  the clock starts when everything is loaded

    from humanst.catalog import Source
    from humanst.fetch.engine import Wanted, fetch_file
    from humanst.settings import settings

    wanted = Wanted("tiny", Source("counts", NAME, None, int(n_bytes), sha256), (), False)
    start = time.perf_counter()
    fetch_file(wanted, settings())
    print(time.perf_counter() - start)


def serve(body: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with body.open("rb") as handle:
                self.send_response(200)
                self.send_header("Content-Length", str(body.stat().st_size))
                self.end_headers()
                self.wfile.flush()
                self.connection.sendfile(handle)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
