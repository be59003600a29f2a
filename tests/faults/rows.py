"""The 28 faults: what is done, and what should come of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One row of the board: what is done, and what should come of it."""

    id: str
    name: str
    injected: str
    expected: str


FAULTS: dict[str, Fault] = {
    fault.id: fault
    for fault in (
        Fault("F01", "short-body", "a body cut at 30 %, with its length and without", "6 after 3 tries, no file"),
        Fault("F02", "flipped-byte", "one bit of a body flipped on the way", "6, no file"),
        Fault("F03", "login-page", "an HTML page with status 200", "6, called an HTML page"),
        Fault("F04", "stall", "a byte each 20 ms; then nothing at all", "7 within the budget and 2 s"),
        Fault("F05", "redirect-away", "302 to another port, and to file:", "8, nobody asked there"),
        Fault(
            "F06",
            "resume",
            "a body cut at half, run again; a host that ignores Range",
            "0, the right bytes, the rest asked for",
        ),
        Fault("F07", "two-fetchers", "8 processes, with the lock and without", "0, 1 request; 8 right files"),
        Fault(
            "F08",
            "local-rot",
            "one bit of a cached file flipped, its time changed or kept",
            "0 and said, fetched again; offline 7, a build 6: never used",
        ),
        Fault("F09", "kill-fetch", "SIGKILL at any moment of a fetch", "next run clean, nothing torn"),
        Fault("F10", "kill-shards", "SIGKILL at any moment of a release", "next run clean, the same bytes"),
        Fault(
            "F11",
            "kill-section",
            "SIGKILL in the write of a store, new or over an old one",
            "the old one intact, next run clean",
        ),
        Fault("F12", "disk-full", "every write fails, from call 1 to 40 on", "9, the old release intact"),
        Fault(
            "F13",
            "unsynced",
            "every rename and fsync of a build written down",
            "each artefact synced before, its folder after",
        ),
        Fault("F14", "same-bytes", "built twice: hash seed, 1 and 2 workers, another folder", "the same sha256"),
        Fault("F15", "zip-slip", "hostile archives: .., links, devices, twins, cut", "8, 6 or 5, nothing on disk"),
        Fault("F16", "bombs", "zip, gzip, png and h5 that grow", "8 in under 2 s and 512 MiB"),
        Fault(
            "F17",
            "code-in-data",
            "pickles, YAML tags, pipes and object arrays where data belong",
            "refused, nothing ran",
        ),
        Fault("F18", "h5-reaches-out", "links and storage outside the file, absurd sizes", "8, clean ones pass"),
        Fault("F19", "bad-names", "names that no file may have, in catalog and archive", "8 or 5, nothing on disk"),
        Fault(
            "F20",
            "crashing-reader",
            "a reader that aborts, reads at address 0, eats memory or spins",
            "8 for that section, the rest built",
        ),
        Fault("F21", "cut-files", "files of 10 formats cut short", "6 by hash; by structure 5, 6 or 8"),
        Fault("F22", "wrong-scale", "um per pixel halved, 1.0, 55 for 65, scale factors swapped", "5"),
        Fault(
            "F23",
            "turned-image",
            "the 7 other orientations of an image, x and y swapped",
            "5, or warned of where it cannot be told",
        ),
        Fault("F24", "off-image", "0.5 %, 5 % and all spots outside; an image cropped", "counted, warned, 5"),
        Fault("F25", "barcodes", "suffix lost, 1 % swapped, duplicates, none match", "5"),
        Fault("F26", "bad-counts", "NaN, negative, fractional counts; counts lost in pooling", "5"),
        Fault("F27", "genes", "spreadsheet names, mouse, mixed species, twins by alias", "5, or dropped and counted"),
        Fault(
            "F28",
            "leakage",
            "a donor on two sides, no donor, a copy under another name, a study added",
            "5, or joined; nobody moves",
        ),
    )
}
