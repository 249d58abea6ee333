from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.callbacks import RecordWriter
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, toy_model

SELECTION = {"monitor": "val/map@all/cos/label/mean", "mode": "max", "value": 0.5, "epoch": 1, "step": 12}
SUMMARY = {"selection": SELECTION, "wall_time_s": 3.5, "updates": 12, "epochs": 2}


def measured(run: Run) -> Triplet:
    data = Toy()
    model = toy_model(Triplet, data)
    writer = RecordWriter(run, run, experiment="toys/triplet", seed=7, config={"seed_everything": 7})
    trainer(callbacks=[writer]).test(model, data, verbose=False)
    return model


def test_record_says_what_was_measured_and_how(tmp_path: Path) -> None:
    run, peak = Run(tmp_path), {"process_mib": 10**7}
    run.write_summary({**SUMMARY, "peak_memory": peak})
    model = measured(run)
    record = Record.read(run.record)
    assert record.metrics == model.measurement.metrics
    assert (record.experiment, record.method, record.dataset, record.seed) == ("toys/triplet", "Triplet", "Toy", 7)
    assert record.split == {"name": "toy", "checksum": "0" * 16}
    assert record.data_checksum == Toy().checksum()
    assert record.pictures == {part: Toy().part(part).num_images for part in ("train", "val", "test")}
    assert record.protocol == "map@all/cos/label"
    assert record.selection == SELECTION
    assert record.encoders == {"image": "FeatureMLP", "text": "FeatureMLP", "features": "toy features"}
    assert record.num_parameters == sum(p.numel() for p in model.parameters())
    assert record.wall_time["fit_s"] == 3.5
    assert record.wall_time["test_s"] > 0
    assert record.peak_memory == peak  # the training's, which was the larger one
    assert record.config == {"seed_everything": 7}
    with np.load(run.ranks) as ranks:
        assert ranks.files


def test_memory_of_a_run_whose_training_did_not_measure_it_is_not_known(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_summary(SUMMARY)
    measured(run)
    assert Record.read(run.record).peak_memory == {}


def test_run_that_did_not_end_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        measured(Run(tmp_path))
    assert not list(tmp_path.iterdir())
