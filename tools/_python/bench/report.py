"""The figures of a run: medians, quartiles and ratios, as a table and for programs."""

import os
import platform
from statistics import median, quantiles
from typing import Any

from tools._python.bench.adapters import OURS
from tools._python.bench.runner import Measured
from tools._python.bench.workloads import WORKLOADS

UNITS = {"W8": 1e6, "W10": 1e6, "W11": 1e6, "W12": 1e6}  # ms; all others µs

#: cwstore writes down who held a task and what came of it, the others only that they hold it.
KEEP_MORE = {"W16", "W17"}


def ratio(mine: list[float], limit: list[float]) -> float:
    """The median of the rounds' ratios: neighbours in time, so a disturbance hits both."""
    return median(a / b for a, b in zip(mine, limit, strict=True))


def row_of(workload: str, measured: dict[str, Measured], *, plain: bool) -> dict[str, Any]:
    """One workload's figures; nanoseconds, and ratios to the limit."""
    limit = measured.get("limit")
    title, of_plain, of_own, *_ = WORKLOADS[workload]
    row: dict[str, Any] = {
        "workload": workload,
        "title": title,
        "target": of_plain if plain else of_own,
        "adapters": {},
    }
    for name, found in measured.items():
        low, _, high = quantiles(found.wall, n=4)
        figures: dict[str, Any] = {
            "median_ns": median(found.wall),
            "quartiles_ns": [low, high],
            "processor_ns": median(found.processor),
            "pages": round(found.pages, 2),
        }
        if limit is not None:
            figures["ratio"] = ratio(found.wall, limit.wall)
            if any(limit.processor):
                figures["processor_ratio"] = ratio(found.processor, limit.processor)
            if workload == "W13":  # told as a rate
                figures["ratio"] = 1 / figures["ratio"]
                figures["processor_ratio"] = 1 / figures["processor_ratio"]
        row["adapters"][name] = figures
    return row


def cheats(row: dict[str, Any], *, plain: bool) -> list[str]:
    """Adapters that write other pages than the limit. Ids are random, so splits differ a little.

    With the plain schema cwstore is not among them: it has a schema of its own.
    """
    figures = row["adapters"]
    if "limit" not in figures or row["workload"] in KEEP_MORE:
        return []
    pages = figures["limit"]["pages"]
    return [
        f"{row['workload']}: {name} writes {found['pages']} pages an operation, the limit {pages}"
        for name, found in figures.items()
        if not (plain and name in OURS) and abs(found["pages"] - pages) > 0.3 + 0.1 * pages
    ]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import apsw

    return {
        "python": platform.python_version(),
        "apsw": apsw.apsw_version(),
        "processors": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def header(names: list[str]) -> str:
    """The first line of the table."""
    columns = "".join(f" {name:>13}" for name in names)
    return f"{'':4} {'':30} {'limit':>9}{columns}   target   pages written"


def line(row: dict[str, Any], names: list[str], key: str) -> str:
    """One workload: the limit's median, and everyone's ratio to it."""
    workload, figures = row["workload"], row["adapters"]
    unit = UNITS.get(workload, 1e3)
    shown = "median_ns" if key == "ratio" else "processor_ns"
    limit = figures["limit"][shown] / unit if "limit" in figures else 0.0
    cells = ""
    for name in names:
        cells += f" {figures[name].get(key, 0.0):13.2f}" if name in figures else f" {'n/a':>13}"
    mark = ""
    if "cwstore" in figures and key in figures["cwstore"]:
        reached = figures["cwstore"][key]
        missed = reached < row["target"] if workload == "W13" else reached > row["target"]
        mark = "  MISSED" if missed else ""
    sign = ">=" if workload == "W13" else "<="
    measure = "ms" if unit == 1e6 else "µs"
    pages = "/".join(
        f"{figures[name]['pages']:.1f}" for name in ("limit", "cwstore") if name in figures
    )
    return (
        f"{workload:4} {row['title']:30} {limit:7.1f}{measure}{cells}"
        f" {sign:>3} {row['target']:.2f} {pages:>13}{mark}"
    )
