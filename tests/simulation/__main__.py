"""`python -m tests.simulation SEED`, or `FIRST COUNT`: one history to read, or many and the seeds that fail."""

import argparse
import os
import sys


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--break", dest="broken", default="", help="a breakage of breakages.py")
    parser.add_argument("--stop", action="store_true", help="at the first violation")
    chosen = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings have one order then, and a seed one history
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})
    from tests.simulation.soak import replay, soak

    faults, broken = not chosen.no_faults, chosen.broken
    if chosen.count is None:
        sys.exit(replay(chosen.first, faults=faults, broken=broken))
    sys.exit(soak(chosen.first, chosen.count, chosen.jobs, faults=faults, broken=broken, stop=chosen.stop))


if __name__ == "__main__":
    main()
