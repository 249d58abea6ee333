import copy
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.callbacks import RecordWriter
from cmr_lightning.callbacks.record import setting_without
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.methods.chance import Random
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, toy_model

SELECTION = {"monitor": "val/map@all/cos/label/mean", "mode": "max", "value": 0.5, "epoch": 1, "step": 12}
CONFIG = {
    "seed_everything": 1,
    "model": {
        "class_path": "SSAL",
        "init_args": {
            "dim": 8,
            "alignment": {"class_path": "ModalityAdversary"},
            "rotation_mode": "flipped",
            "weights": {"label": 1.0, "alignment": 0.5},
            "shares": None,
            "discriminator_steps": 1,
        },
    },
    "data": {"class_path": "Toy", "init_args": {"root": "here", "batch_size": 8}},
}
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


FIGURES = {"items": 24, "state": "idle", "gradient_share": 0.001, "rotation_state": "none"}


@pytest.mark.parametrize("figures", [FIGURES, {}])
def test_record_says_what_was_known_of_the_game_when_the_weights_were_saved(tmp_path: Path, figures: dict) -> None:
    run, data = Run(tmp_path), Toy()
    run.write_summary(SUMMARY)
    model = toy_model(DAML, data)
    model.game.figures = figures
    writer = RecordWriter(run, run, experiment="toys/daml", seed=7, config=CONFIG)
    trainer(callbacks=[writer]).test(model, data, verbose=False)
    shared = {"alignment_setting": setting_without("alignment", CONFIG)}
    assert Record.read(run.record).game == ({**figures, **shared} if figures else {})


def test_record_of_an_untrained_method_says_that_nobody_plays(tmp_path: Path) -> None:
    run, data = Run(tmp_path), Toy()
    run.write_summary(SUMMARY)
    writer = RecordWriter(run, run, experiment="toys/random", seed=7, config={})
    trainer(callbacks=[writer]).test(Random(data.spec), data, verbose=False)
    game = Record.read(run.record).game
    assert game.pop("state") == "none"
    assert set(game.values()) == {None}


@pytest.mark.parametrize(
    ("path", "value", "twins_of"),
    [
        ("seed_everything", 2, {"alignment", "rotation"}),
        ("data.init_args.root", "there", {"alignment", "rotation"}),
        ("model.init_args.discriminator_steps", 5, {"alignment", "rotation"}),
        ("model.init_args.alignment", None, {"alignment"}),
        ("model.init_args.weights.alignment", 0.0, {"alignment"}),
        ("model.init_args.shares", {"alignment": 0.1}, {"alignment"}),
        ("model.init_args.rotation_mode", "entropy", {"rotation"}),
        ("model.init_args.weights.rotation", 0.0, {"rotation"}),
        ("model.init_args.weights.label", 0.0, set()),
        ("model.init_args.dim", 9, set()),
        ("model.class_path", "ACMR", set()),
        ("data.init_args.batch_size", 9, set()),
    ],
)
def test_twins_agree_in_all_settings_that_are_not_of_the_term(path: str, value: object, twins_of: set[str]) -> None:
    other = copy.deepcopy(CONFIG)
    *inside, key = path.split(".")
    reduce(getitem, inside, other)[key] = value
    same = {term for term in ("alignment", "rotation") if setting_without(term, CONFIG) == setting_without(term, other)}
    assert same == twins_of
