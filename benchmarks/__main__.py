"""``python -m benchmarks``: every registered metric in its short form, with a table of ratios against targets.

Each module runs in a process of its own, one after the other; one that fails is told and counted, and the rest go on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.registry import REGISTRY, Benchmark


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side with the peers.")
    parser.add_argument("--full", action="store_true", help="the long run: real sizes, every peer, a held snapshot")
    parser.add_argument("--only", default="", help="metrics, with commas: --only 1,2b")
    parser.add_argument("--json", type=Path, default=harness.LATEST, help="results file (default: %(default)s)")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    unknown = only - {metric for benchmark in REGISTRY for metric in benchmark.metrics}
    if unknown:
        parser.error(f"no benchmark measures {', '.join(sorted(unknown))}")
    chosen = [benchmark for benchmark in REGISTRY if not only or only & set(benchmark.metrics)]
    failed = [
        benchmark.module for benchmark in chosen if not run(benchmark, options.json, full=options.full, only=only)
    ]

    measured = {metric for benchmark in chosen for metric in benchmark.metrics}
    entries = [entry for entry in harness.read(options.json) if str(entry["metric"]) in measured]
    print(harness.table(entries))
    missed = [entry for entry in entries if not entry["holds"]]
    print(f"\n{len(entries) - len(missed)} of {len(entries)} targets hold; results are in {options.json}")
    if failed:
        print(f"did not run to their end: {', '.join(failed)}")
        sys.exit(1)
    subprocess.run([sys.executable, "-m", "benchmarks.report", "--json", str(options.json)], check=True)


def run(benchmark: Benchmark, results: Path, *, full: bool, only: set[str]) -> bool:
    """Run one module and merge what it measured; whether it ran to its end."""
    arguments = benchmark.full if full else benchmark.short
    if benchmark.selects and only:
        arguments = (*arguments, "--metrics", ",".join(sorted(only & set(benchmark.metrics))))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "entries.json"
        command = [sys.executable, "-m", f"benchmarks.{benchmark.module}", *arguments, "--json", str(file)]
        harness.say(f"\n{' '.join(command[1:])}")
        start = time.monotonic()
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        code = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment).returncode
        harness.say(f"  took {time.monotonic() - start:.0f} s")
        if file.exists():
            written = json.loads(file.read_text())
            entries = written if isinstance(written, list) else [written]
            harness.merge([harness.Entry(**entry) for entry in entries], results)
        return code == 0


if __name__ == "__main__":
    main()
