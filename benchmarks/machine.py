"""Where a benchmark ran, and how its figures are written down and shown.

Every report holds the command, the options, all raw figures, the hardware, the versions and how
busy the machine was when the benchmark began: figures of a busy machine are not worth keeping.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kdtune.tracking import versions
from kdtune.training.precision import computes_bf16

RESULTS = Path(__file__).parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")
"""Of a processor: what decides how fast it multiplies. ARM calls its own ``bf16``."""


def hardware() -> dict[str, Any]:
    """Processor, its cores and flags, memory in GiB, and the GPUs that torch sees."""
    gpus = range(torch.cuda.device_count())
    return {
        "cpu": next(iter(_cpu_lines("model name")), platform.processor()),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in _cpu_flags()],
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(gpu) for gpu in gpus],
    }


def has_native_bf16(device: str) -> bool:
    """Whether ``device`` (``cpu`` or ``cuda``) multiplies bfloat16 without emulating it."""
    return computes_bf16(torch.device(device))


def default_device() -> str:
    """``cuda`` where there is a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was asked to, so that a clock means something."""
    if device == "cuda":
        torch.cuda.synchronize()


class Report:
    """One run of a benchmark: make it first, write it last.

    Args:
        name: Of the script; also of its file under ``benchmarks/results``.
        options: What was asked, ``json`` being the file to write in place of that one.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        asked = {key: value for key, value in vars(options).items() if key != "json"}
        self._file: Path = options.json or RESULTS / f"{name}.json"
        self._data: Path | None = getattr(options, "data", None)
        self._head = {
            "command": " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "load_average_at_start": os.getloadavg(),
            "options": {key: str(v) if isinstance(v, Path) else v for key, v in asked.items()},
            "hardware": hardware(),
            "versions": versions(),
        }

    def write(self, **found: Any) -> None:
        """Write the figures to the file and say where they are."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        load = {"load_average_at_end": os.getloadavg()}
        text = json.dumps({**self._head, **load, **found}, indent=2) + "\n"
        if self._data is not None:  # Where it lies on this machine is nobody's business.
            for place in (str(self._data.resolve()), str(self._data)):
                text = text.replace(place, self._data.name)
        self._file.write_text(text)
        print(f"{describe(self._head)}\nwritten to {self._file}")


def describe(head: Mapping[str, Any]) -> str:
    """One line: hardware, versions and load at the start."""
    own: Mapping[str, Any] = head["hardware"]
    gpus = ", ".join(own["gpus"]) or "no GPU"
    flags = " ".join(own["flags"]) or "no AVX2"
    known = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    load = ", ".join(f"{value:.2f}" for value in head["load_average_at_start"])
    return (
        f"{own['cores']} cores of {own['cpu']} ({flags}), {own['ram_gib']} GiB, {gpus}; "
        f"{known}; load at the start {load}"
    )


def add_common_options(parser: argparse.ArgumentParser, *, images: int) -> None:
    """``--data``, ``--images``, ``--device`` and ``--json``, which all benchmarks here take."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="CIFAR-10 as Parquet; without it, made-up images of the same shape",
    )
    parser.add_argument("--images", type=int, default=images, help="training images of a trial")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default_device())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there instead")


def ratios(faster: Sequence[float], slower: Sequence[float]) -> list[float]:
    """Round by round, how many times the one is the other."""
    return [high / low for high, low in zip(faster, slower, strict=True)]


def median(values: Sequence[float]) -> float:
    """Of the rounds; NaN where there is none."""
    return statistics.median(values) if values else float("nan")


def listed(values: Sequence[float], digits: int = 2) -> str:
    """All figures, comma between them."""
    return ", ".join(f"{value:,.{digits}f}" for value in values)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all columns but the first are figures."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=max(100, Console().width)).print(table)


def _cpu_flags() -> set[str]:
    lines = _cpu_lines("flags") or _cpu_lines("Features")
    return set(lines[0].split()) if lines else set()


def _cpu_lines(name: str) -> list[str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(name)]
