"""Every measurement of this folder, one after the other, on data that they generate.

python -m tests.benchmarks [NAME ...]
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = sorted(path.stem for path in HERE.glob("*.py") if "def main" in path.read_text() and path.stem != "__main__")


def main(names: list[str]) -> int:
    """Run those that are named, or all; the number of those that failed."""
    unknown = sorted(set(names) - set(SCRIPTS))
    if unknown:
        print(f"error: there is no measurement {', '.join(unknown)}; there are {', '.join(SCRIPTS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or SCRIPTS:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
