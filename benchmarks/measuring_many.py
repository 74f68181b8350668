"""Speed and memory of measuring many fields with several workers.

Usage::

    python benchmarks/measuring_many.py DATA [--profile area] [--fields 300 1000 3000]
        [--workers 1 2] [--repeats 3]

DATA holds a folder of fields per condition; repeated links to them make as many fields as
requested. Each run is a complete ``phenldiff measure`` command. Runs with different numbers of
workers alternate, and the best of each counts, to reduce the effect of other load. Prints seconds,
fields per second, CPU seconds of the main process and of its workers, peak memory of the main
process, and whether the tables are the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--profile", default="area")
    parser.add_argument("--fields", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    for number in args.fields:
        with tempfile.TemporaryDirectory() as folder:
            inputs = link(args.data, Path(folder) / "fields", number)
            tables: dict[int, bytes] = {}
            best: dict[int, dict[str, float]] = {}
            for _ in range(args.repeats):
                for workers in args.workers:
                    out = Path(folder) / f"{workers}" / "t.csv"
                    found = run(args.profile, inputs, workers, out)
                    tables[workers] = out.read_bytes()
                    before = best.get(workers, found)
                    best[workers] = {name: min(before[name], found[name]) for name in found}
        for workers, found in best.items():
            numbers = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
            rate = number / found["seconds"]
            print(f"{number} fields, {workers} workers: {rate:.1f} fields/s; {numbers}", flush=True)
        print(f"  same tables: {len(set(tables.values())) == 1}", flush=True)


def link(data: Path, folder: Path, number: int) -> Path:
    """Make links to the fields of the conditions in turn, until there are enough."""
    conditions = [sorted(part.glob("*.tif")) for part in sorted(data.iterdir()) if part.is_dir()]
    for place in range(number):
        files = conditions[place % len(conditions)]
        file = files[place // len(conditions) % len(files)]
        path = folder / file.parent.name / f"{place:05d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(file.resolve())
    return folder


def run(profile: str, inputs: Path, workers: int, out: Path) -> dict[str, float]:
    """Run the command and monitor its processes."""
    command = [sys.executable, "-m", "napari_phenldiff", "measure", profile, str(inputs)]
    command += ["--workers", str(workers), "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    watched = psutil.Process(process.pid)
    peak = own = 0.0
    others: dict[int, float] = {}
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss / 2**20)
            own = sum(watched.cpu_times()[:2])
            for child in watched.children():
                others[child.pid] = sum(child.cpu_times()[:2])
        except psutil.Error:
            pass  # it has just ended
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "seconds": time.perf_counter() - began,
        "CPU own": own,
        "CPU workers": sum(others.values()),
        "peak MB": peak,
    }


if __name__ == "__main__":
    main()
