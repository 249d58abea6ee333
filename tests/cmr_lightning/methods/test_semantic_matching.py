from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmr_lightning.batch import Batch
from cmr_lightning.errors import UserError
from cmr_lightning.methods.semantic_matching import SemanticMatching, regress
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pascal_sentence import PascalSentence
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.toy import CLASSES, Toy


def solved(data: Toy, **kwargs: Any) -> tuple[SemanticMatching, Batch]:
    model = SemanticMatching(data.spec, **kwargs)
    pairs = data.training_pairs()
    model.solve(pairs)
    return model, pairs


def test_embeddings_are_the_posteriors_of_scikit_learn() -> None:
    model, pairs = solved(Toy(), image_c=0.1, text_c=2.0)
    images, texts = pairs.image.double().numpy(), pairs.text.double().numpy()  # type: ignore[union-attr]
    image_model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    text_model = LogisticRegression(C=2.0, max_iter=1000)
    expected = image_model.fit(images, pairs.label.numpy()).predict_proba(images)
    np.testing.assert_allclose(model.embed_images(pairs.image).numpy(), expected, atol=1e-12)
    expected = text_model.fit(texts, pairs.label.numpy()).predict_proba(texts)
    np.testing.assert_allclose(model.embed_texts(pairs.text).numpy(), expected, atol=1e-12)


def test_several_labels_make_one_regression_a_class() -> None:
    model, pairs = solved(Toy(multi_label=True), standardize_images=False)
    images = pairs.image.double().numpy()
    reference = OneVsRestClassifier(LogisticRegression(max_iter=1000)).fit(images, pairs.label.numpy())
    np.testing.assert_allclose(model.embed_images(pairs.image).numpy(), reference.predict_proba(images), atol=1e-12)


def test_two_classes_have_two_posteriors() -> None:
    draw = np.random.default_rng(0)
    features, label = draw.normal(size=(40, 3)), np.arange(40) % 2
    features[:, 0] += label
    weight, bias = regress(features, label, c=1.0, standardize=False, max_iter=100)
    posteriors = torch.from_numpy(features @ weight.T + bias).softmax(1).numpy()
    np.testing.assert_allclose(
        posteriors, LogisticRegression().fit(features, label).predict_proba(features), atol=1e-12
    )


def test_a_constant_feature_does_no_harm() -> None:
    features = np.concatenate([np.random.default_rng(0).normal(size=(20, 2)), np.ones((20, 1))], axis=1)
    weight, bias = regress(features, np.arange(20) % 4, c=1.0, standardize=True, max_iter=100)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_weights_are_all_that_a_checkpoint_needs(data: Toy) -> None:
    model, pairs = solved(data)
    restored = SemanticMatching(data.spec)
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored.embed_images(pairs.image), model.embed_images(pairs.image))
    assert torch.equal(restored.embed_texts(pairs.text), model.embed_texts(pairs.text))


def test_too_few_iterations_are_said() -> None:
    with pytest.raises(UserError, match=r"images did not converge in 2 iterations; raise model\.max_iter"):
        solved(Toy(), max_iter=2)


def test_a_class_without_items_is_refused() -> None:
    spec = Toy().spec._replace(class_counts=(0, *[32] * (CLASSES - 1)))
    with pytest.raises(UserError, match="with and without each class"):
        SemanticMatching(spec)


def test_fits_through_the_trainer_and_matches_meanings(data: Toy) -> None:
    model = SemanticMatching(data.spec)
    trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1.0).fit(model, data)
    assert model.measurement is not None
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.8


def test_pictures_and_words_are_seen_as_vectors() -> None:
    data = Shapes(num_train=40, num_val=20, num_test=20, picture_size=24)
    model = SemanticMatching(data.spec)
    pairs = data.training_pairs()
    model.solve(pairs)
    right = model.embed_texts(pairs.text).argmax(1) == pairs.label
    assert right.float().mean() > 0.9
    assert model.embed_images(pairs.image).shape == (200, 20)


def test_pascal_sentence_on_validation(real_data: Path) -> None:
    """Anchor: with scikit-learn 1.9, 0.66 both ways on the validation part of split 0."""
    data = PascalSentence(str(real_data / "pascal_sentence"), image=FeatureArchive("mobilenetv2_features.npz"))
    model = SemanticMatching(data.spec, image_c=0.01, text_c=10.0)
    trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1.0).fit(model, data)
    assert model.measurement is not None
    assert model.measurement.metrics["map@all/cos/label"]["mean"] == pytest.approx(0.659, abs=0.005)
