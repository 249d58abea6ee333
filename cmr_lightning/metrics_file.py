"""The run's `metrics.csv`."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from cmr_lightning.runs import Run
from cmr_lightning.whole_file import whole_file


class _ContinuedWriter(ExperimentWriter):
    """Writes on where an earlier writer stopped; Lightning's own deletes the file.

    A new column is added in one go; Lightning's own loses all rows if it is interrupted at that.
    """

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        _write(path, fieldnames, rows)


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
    """Drop the rows of a metrics file that are about later updates than `keep_until`, and a line without an end."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    kept = [row for row in reader if int(row["step"]) <= keep_until]
    if not kept:
        path.unlink()
        return
    _write(path, list(reader.fieldnames or []), kept)


def _write(path: Path, keys: list[str], rows: list[dict[str, str]]) -> None:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, keys)
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())
