"""Draw many odd inputs, and count how they ended."""

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.kinds import KINDS, World
from tests.fuzz.outcomes import Case, table


def fuzz(cases: int, seed: int, folder: Path) -> list[Case]:
    """Draw as many odd inputs, of each kind equally many; the i-th of a kind depends on seed, kind and i alone."""
    world = World(folder)
    drawn = []
    for number in range(cases):
        kind = KINDS[number % len(KINDS)]
        drawn.append(kind(world, random.Random(f"{seed}/{kind.__name__}/{number // len(KINDS)}")))
    return drawn


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 if a case ended badly."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        cases = fuzz(options.cases, options.seed, Path(folder))
    print("\n".join(table(cases)))
    return int(any(case.bad for case in cases))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
