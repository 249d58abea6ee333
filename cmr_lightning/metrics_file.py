"""The run's `metrics.csv`."""

from __future__ import annotations

import csv
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from cmr_lightning.runs import Run


class _ContinuedWriter(ExperimentWriter):
    """Writes on where an earlier writer stopped; Lightning's own deletes the file."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, writing `metrics.csv` straight into the run's folder.

    Args:
        run: The run.
        keep_until: Update up to which an earlier file's rows are kept, when a run is resumed; later rows will be
            written again. 0 keeps none.
    """

    def __init__(self, run: Run, keep_until: int = 0) -> None:
        super().__init__(save_dir=run.path, name="", version="", flush_logs_every_n_steps=1)
        path = run.path / ExperimentWriter.NAME_METRICS_FILE
        if path.exists():
            _cut(path, keep_until)

    @property
    def experiment(self) -> ExperimentWriter:
        """The writer, made on first use."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def _cut(path: Path, keep_until: int) -> None:
    """Drop the rows of a metrics file that are about later updates than `keep_until`."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        kept = [row for row in reader if int(row["step"]) <= keep_until]
        keys = reader.fieldnames or []
    if not kept:
        path.unlink()
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(kept)
