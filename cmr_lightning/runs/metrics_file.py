"""The run's `metrics.csv`."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.runs.run import Run


class _ContinuedWriter(ExperimentWriter):
    """Continues after the `rows` that earlier writers wrote; Lightning's own deletes the file."""

    def _check_log_dir_exists(self) -> None:
        keys, rows = _read(Path(self.metrics_file_path))
        self.metrics_keys, self.rows = list(keys), len(rows)

    def save(self) -> None:
        """Write what was logged since the last time."""
        self.rows += len(self.metrics)
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        _write(path, fieldnames, _read(path)[1])


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, writing `metrics.csv` straight into the run's folder.

    Of an earlier file the first `keep_rows` rows are kept; a run that is resumed writes the later ones again. The file
    is not touched before something is logged.
    """

    def __init__(self, run: Run, keep_rows: int = 0) -> None:
        super().__init__(save_dir=run.path, name="", version="", flush_logs_every_n_steps=1)
        self.run = run
        self.keep_rows = keep_rows

    @property
    def experiment(self) -> ExperimentWriter:
        """The writer, made on first use."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            _cut(self.run.metrics, self.keep_rows)
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]

    @property
    def rows(self) -> int:
        """Rows of the file."""
        self.save()
        return self.experiment.rows  # type: ignore[attr-defined]


@rank_zero_only
def _cut(path: Path, keep_rows: int) -> None:
    """Drop all rows of a metrics file but the first `keep_rows`."""
    keys, rows = _read(path)
    if keep_rows:
        _write(path, keys, rows[:keep_rows])
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Read the keys and rows of a metrics file, if it is there."""
    if not path.exists():
        return [], []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return list(reader.fieldnames or []), rows


def _write(path: Path, keys: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, keys)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
