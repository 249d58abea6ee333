from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.callbacks import EmbeddingsFile
from cmr_lightning.methods.cca import CCA
from cmr_lightning.methods.chance import Random
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, ToyComposed


def test_holds_all_images_and_texts_and_whose_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = Toy(captions=3), Run(tmp_path)
    data.eval_batch_size = 7
    model = CCA(data.spec, components=4)
    model.solve(data.training_pairs())
    trainer(callbacks=[EmbeddingsFile(run)]).predict(model, data, return_predictions=False)
    part = data.part("test")
    with np.load(run.embeddings) as file:
        assert np.allclose(file["image"], model.embed_images(part.image).numpy(), atol=1e-5)
        assert np.allclose(file["text"], model.embed_texts(part.text).numpy(), atol=1e-5)
        assert file["owner"].tolist() == part.owner.tolist()
        assert tuple(file["image_names"]) == part.image_names
    assert "24 images and 72 texts, 4 numbers each" in capsys.readouterr().out


def test_of_composed_data_holds_what_the_queries_start_from(tmp_path: Path) -> None:
    data, run = ToyComposed(), Run(tmp_path)
    trainer(callbacks=[EmbeddingsFile(run)]).predict(Random(data.spec), data, return_predictions=False)
    with np.load(run.embeddings) as file:
        assert set(file) == {"image", "text", "source", "image_names"}
        assert file["source"].tolist() == data.part("test").owner.tolist()
        assert len(file["text"]) == len(file["source"])
