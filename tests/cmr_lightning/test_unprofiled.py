from __future__ import annotations

from pathlib import Path

import pytest
from pytorch_lightning.profilers import SimpleProfiler

from cmr_lightning.unprofiled import Unprofiled
from tests.building import Built, write_toy


def test_what_is_not_measured_goes_on_as_it_is() -> None:
    profiler, done = Unprofiled(), []
    with profiler.profile("outside"), profiler.profile("inside"):
        done.append("inside")
    with pytest.raises(ZeroDivisionError), profiler.profile("failing"):
        _ = 1 / 0
    assert done == ["inside"]


@pytest.mark.parametrize(("options", "profiler"), [([], Unprofiled), (["--trainer.profiler=simple"], SimpleProfiler)])
def test_a_run_is_profiled_where_the_config_says_so(tmp_path: Path, options: list[str], profiler: type) -> None:
    experiment = write_toy(tmp_path / "toy.yaml")
    built = Built(["fit", f"--config={experiment}", f"--run_dir={tmp_path / 'run'}", *options])
    assert type(built.trainer.profiler) is profiler
