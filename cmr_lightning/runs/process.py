"""The process of one run: `python -m cmr_lightning.runs.process fit ... -- test ...`."""

from __future__ import annotations

import sys
from itertools import groupby

from cmr_lightning.__main__ import main


def run(words: list[str]) -> int:
    """Run commands that `--` separates, one after the other, until one fails.

    Returns:
        The exit code of the last one.
    """
    for command in (list(of) for separator, of in groupby(words, key="--".__eq__) if not separator):
        code = main(command)
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
