"""What `benchmarks.build` measured, as ratios, as tables, and carried on to a whole atlas."""

from __future__ import annotations

from typing import Any

import click

LIMIT_MIB = 2048
STAGES = ("extract", "pack", "finish")


def summary(result: dict[str, Any], atlas_pairs: int, atlas_sections: int) -> dict[str, Any]:
    """The ratios that are asked for, and the cost of a whole atlas."""
    one = next(run for run in result["builds"] if run["workers"] == 1)
    two = [run for run in result["builds"] if run["workers"] == 2]
    whole = two[-1]
    cut = result["cut"]
    done = {key: sum(one["stages"][name][key] for name in ("extract", "pack")) for key in ("seconds", "cpu_seconds")}
    peaks = [run["worker_peak_mib"] for run in result["builds"]]
    found: dict[str, Any] = {
        "pairs": whole["pairs"],
        "two_workers_over_one": _ratios(one, whole),
        "over_cutting_cpu": (one["pairs"] / done["cpu_seconds"]) / (cut["patches"] / cut["cpu_seconds"]),
        "over_cutting_wall": (one["pairs"] / done["seconds"]) / (cut["patches"] / cut["seconds"]),
        "worker_peak_mib": [round(peak) for peak in peaks],
        "within_limit": max(peaks) <= LIMIT_MIB,
        "bytes_a_pair": {
            "shards": whole["shard_bytes"] / whole["pairs"],
            "release": whole["release_bytes"] / whole["pairs"],
            "work": whole["work_bytes"] / whole["pairs"],
        },
    }
    return found | {"atlas": _atlas(result, one, whole, atlas_pairs, atlas_sections)}


def _ratios(one: dict[str, Any], two: dict[str, Any]) -> dict[str, float]:
    ratios = {name: one["stages"][name]["seconds"] / two["stages"][name]["seconds"] for name in STAGES}
    parallel = [sum(run["stages"][name]["seconds"] for name in ("extract", "pack")) for run in (one, two)]
    return {**ratios, "extract and pack": parallel[0] / parallel[1], "end to end": one["seconds"] / two["seconds"]}


def _atlas(
    result: dict[str, Any], one: dict[str, Any], two: dict[str, Any], n_pairs: int, n_sections: int
) -> dict[str, Any]:
    """CPU hours, wall hours and bytes of a whole atlas."""
    wide = result["wide"]
    per_pair = {
        "extract": one["stages"]["extract"]["cpu_seconds"] / one["pairs"],
        "pack": wide["cpu_seconds"] / wide["pairs"],
        "finish": one["stages"]["finish"]["cpu_seconds"] / one["pairs"],
    }
    cpu = {name: seconds * n_pairs for name, seconds in per_pair.items()}
    stores = result["stores"]["cpu_seconds"] / result["stores"]["sections"] * n_sections
    busy = two["cpu_seconds"] / two["seconds"]
    return {
        "pairs": n_pairs,
        "sections": n_sections,
        "cpu_hours": {name: seconds / 3600 for name, seconds in cpu.items()},
        "hours_1_worker": sum(cpu.values()) / 3600 * one["seconds"] / one["cpu_seconds"],
        "hours_2_workers": sum(cpu.values()) / 3600 / busy,
        "stores_cpu_hours": stores / 3600,
        "release_gb": two["release_bytes"] / two["pairs"] * n_pairs / 1e9,
        "work_gb": two["work_bytes"] / two["pairs"] * n_pairs / 1e9,
        "assumptions": [
            "extract and finish cost the same for each pair whatever the size, as over the sizes above",
            f"pack costs what shards that draw on {n_sections:,} sections cost; all extracts in the page cache",
            "slides as here: 0.25 um/px, JPEG tiles, spots 100 um apart; local disk that keeps up",
            "sections as large as here: with smaller ones opening stores weighs more",
            "stores apart: they are built once, from whatever the vendors give",
        ],
    }


def show(result: dict[str, Any]) -> None:
    """Print the tables: pairs a second, and in brackets pairs a CPU second."""
    cut, wide, stores, atlas = (result[name] for name in ("cut", "wide", "stores", "atlas"))
    click.echo(f"counts: {result['counts']}; {result['pairs']:,} pairs of {result['builds'][0]['sections']} sections")
    click.echo(f"cut alone:{_rate(cut['patches'], cut)} patches/s")
    names = "".join(f"{name:>16}" for name in (*STAGES, "end to end"))
    click.echo(f"{'sections':>8}{'workers':>8}{'pairs':>8}{names}{'peak MiB':>10}")
    for run in result["builds"]:
        rates = "".join(_rate(run["pairs"], stage) for stage in (*(run["stages"][name] for name in STAGES), run))
        head = f"{run['sections']:>8}{run['workers']:>8}{run['pairs']:>8,}"
        click.echo(f"{head}{rates}{run['worker_peak_mib']:>10,.0f}")
    ratios = ", ".join(f"{name} {value:.2f} x" for name, value in result["two_workers_over_one"].items())
    click.echo(f"two workers over one: {ratios}")
    by_cpu, by_wall = result["over_cutting_cpu"], result["over_cutting_wall"]
    click.echo(f"extract and pack over cutting alone: {by_cpu:.0%} by CPU time, {by_wall:.0%} by wall time")
    click.echo("bytes a pair: " + ", ".join(f"{name} {value:,.0f}" for name, value in result["bytes_a_pair"].items()))
    wide_rate = wide["pairs"] / wide["cpu_seconds"]
    click.echo(f"packing shards of {wide['sections']:,} sections: {wide_rate:,.0f} pairs a CPU second")
    click.echo(f"stores: {stores['cpu_seconds'] / stores['sections']:.1f} CPU seconds a section")
    cpu = ", ".join(f"{name} {hours:.2f}" for name, hours in atlas["cpu_hours"].items())
    click.echo(f"{atlas['pairs']:,} pairs of {atlas['sections']:,} sections: CPU hours {cpu}")
    click.echo(f"  {atlas['hours_1_worker']:.2f} h with one worker, {atlas['hours_2_workers']:.2f} h with two")
    click.echo(f"  release {atlas['release_gb']:.0f} GB, work folder {atlas['work_gb']:.0f} GB beside the stores")
    click.echo(f"  section stores before that: {atlas['stores_cpu_hours']:.1f} CPU hours")
    click.echo("  assuming: " + ";\n    ".join(atlas["assumptions"]))


def _rate(pairs: int, stage: dict[str, float]) -> str:
    return f"{pairs / stage['seconds']:,.0f} ({pairs / stage['cpu_seconds']:,.0f})".rjust(16)
