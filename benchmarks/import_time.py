"""Wall time of `import degrade_kit` and `degrade-kit --help` in new processes: `python -m benchmarks.import_time`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import print_machine, write_json

SCRIPT = Path(sys.executable).with_name("degrade-kit")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import numpy, cv2": [sys.executable, "-c", "import numpy, cv2"],
    "import degrade_kit": [sys.executable, "-c", "import degrade_kit"],
    "degrade-kit --help": [str(SCRIPT), "--help"],
    "degrade-kit synth --help": [str(SCRIPT), "synth", "--help"],
}


def least_seconds(runs: int) -> dict[str, float]:
    """Least wall seconds of each command; they run in turn, so that a busy machine slows them alike."""
    seconds = {name: list[float]() for name in COMMANDS}
    for _ in range(runs + 1):  # the first run fills the file cache and does not count
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: min(values[1:]) for name, values in seconds.items()}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="timed runs of each (default: 10)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file as well")
    options = parser.parse_args()
    if not SCRIPT.exists():
        raise SystemExit(f"{SCRIPT} is missing: pip install -e .")

    print_machine()
    seconds = least_seconds(options.runs)
    for name, value in seconds.items():
        ratio = value / seconds["import numpy, cv2"]
        print(f"  {name:28}{value:8.3f} s{ratio:8.2f} times `import numpy, cv2`")
    write_json(options.json, seconds)


if __name__ == "__main__":
    main()
