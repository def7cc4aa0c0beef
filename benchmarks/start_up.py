"""How long a command line takes to start: eotune's help against importing what it needs later.

    python benchmarks/start_up.py [--rounds 7]

Each is a fresh process of this interpreter; the minimum of the rounds counts, since a busy machine only adds time. The
peers: the bare interpreter, importing typer (on which the command line is built), and importing torch and transformers
(which a command line that imports at the top would pay for its help). Target: `eotune --help` under 0.4 s.
"""

import argparse
import subprocess
import sys
import time

TRIALS = {
    "bare interpreter": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "eotune --help": ["-m", "eotune.cli.main", "--help"],
    "eotune run --help": ["-m", "eotune.cli.main", "run", "--help"],
    "import torch, transformers.Trainer": ["-c", "import torch; from transformers import Trainer"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    best = dict.fromkeys(TRIALS, float("inf"))
    for _ in range(options.rounds):
        for name, arguments in TRIALS.items():
            best[name] = min(best[name], seconds(arguments))
    for name, value in best.items():
        print(f"{name:>36}: {1000 * value:6.0f} ms   {value / best['eotune --help']:5.2f} of eotune --help")


if __name__ == "__main__":
    main()
