"""``python -m loadtests PROFILE``: set a platform up, load it, and say whether everybody heard everything.

Exits with 1 when anybody missed, doubled or disordered anything, was told of what was not theirs, or did not come back
in time; and when the check does not notice its own evidence being tampered with.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import trio

from benchmarks import population, server
from loadtests import report
from loadtests.conductor import conduct, say
from loadtests.phases import PHASES
from loadtests.profiles import PROFILES, resized

ROOT = Path(__file__).parent
RUNS = ROOT / ".runs"
RESULTS = ROOT / "results"


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("--readers", type=int, help="as many streams, with processes and time in proportion")
    parser.add_argument("--phases", help="these phases alone, with commas between them")
    parser.add_argument("--name", help="name of the results; else the profile's")
    parser.add_argument("--keep", action="store_true", help="keep the database and what every reader heard")
    options = parser.parse_args()
    profile = PROFILES[options.profile]
    if options.readers:
        profile = resized(profile, options.readers)
    if options.phases:
        profile = replace(profile, phases=tuple(options.phases.split(",")))
        if unknown := set(profile.phases) - set(PHASES):
            parser.error(f"there is no phase {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    name = options.name or profile.name
    folder = RUNS / name
    database = f"load_{name.replace('-', '_')}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # told to stop, it stops what it began
    began = time.monotonic()
    say(f"{name}: {profile.readers:,} readers and {profile.visitors} visitors of {profile.people:,} people")
    with server.running("load-postgres18") as postgres, population.copied(postgres, profile.people, database) as dsn:
        plan, outcome = trio.run(conduct, profile, dsn, folder, PHASES)
        say("  the judge")
        result, plots = report.make(profile, plan, outcome, dsn, folder, postgres.settings())
    result["seconds"] = round(time.monotonic() - began, 1)
    report.write(result, plots, folder, RESULTS / name)
    report.show(result)
    if result["passed"] and not options.keep:
        shutil.rmtree(folder)
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
