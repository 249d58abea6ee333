from pathlib import Path

import pytest
import torch
from sklearn import cross_decomposition
from torch import Tensor

from cmr_lightning.batch import Batch, DataSpec, Features
from cmr_lightning.errors import UserError
from cmr_lightning.methods.cca import CCA, whitening
from datamodules.wikipedia import Wikipedia
from tests.building import trainer

P, Q, N = 9, 6, 400


def spec(image: int = P, text: int = Q) -> DataSpec:
    return DataSpec(Features(image), Features(text), 2, (N // 2, N // 2), False, N, "label")


@pytest.fixture
def pairs() -> Batch:
    """Four shared factors of falling strength under noise, neither centred nor scaled."""
    draw = torch.Generator().manual_seed(0)
    shared = torch.randn(N, 4, generator=draw, dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.5])
    views = []
    for size, shift in ((P, 5.0), (Q, -2.0)):
        mixing = torch.randn(4, size, generator=draw, dtype=torch.float64)
        views.append(shared @ mixing + torch.randn(N, size, generator=draw, dtype=torch.float64) + shift)
    return Batch(views[0], views[1], torch.arange(N) % 2, torch.arange(N))


def solved(pairs: Batch, components: int = 4, ridge: float = 0.0) -> CCA:
    assert isinstance(pairs.text, Tensor)
    model = CCA(spec(pairs.image.shape[1], pairs.text.shape[1]), components, ridge)
    model.solve(pairs)
    return model


def correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))


def test_projections_correlate_as_much_as_the_singular_values_say(pairs: Batch) -> None:
    model = solved(pairs)
    images, texts = model.embed_images(pairs.image), model.embed_texts(pairs.text)
    assert torch.allclose(correlation(images, texts), model.correlations, atol=1e-9)
    assert model.correlations.tolist() == sorted(model.correlations.tolist(), reverse=True)


def test_projections_are_centred_uncorrelated_and_of_variance_1(pairs: Batch) -> None:
    model = solved(pairs)
    for projected in (model.embed_images(pairs.image), model.embed_texts(pairs.text)):
        assert torch.allclose(projected.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(projected.T @ projected / N, torch.eye(4, dtype=torch.float64), atol=1e-9)


def test_correlations_are_those_of_another_implementation(pairs: Batch) -> None:
    assert isinstance(pairs.text, Tensor)
    oracle = cross_decomposition.CCA(n_components=4, scale=False, tol=1e-10, max_iter=5000)
    images, texts = map(torch.from_numpy, oracle.fit_transform(pairs.image.numpy(), pairs.text.numpy()))
    model = solved(pairs)
    assert torch.allclose(correlation(images, texts), model.correlations, atol=1e-5)
    ours = model.embed_images(pairs.image)
    assert torch.allclose(correlation(images, ours).abs(), torch.ones(4, dtype=torch.float64), atol=1e-4)


def test_without_ridge_invertible_linear_maps_change_nothing(pairs: Batch) -> None:
    assert isinstance(pairs.text, Tensor)
    draw = torch.Generator().manual_seed(1)
    to_image = torch.randn(P, P, generator=draw, dtype=torch.float64)
    mapped = pairs._replace(image=pairs.image @ to_image + 7, text=-100 * pairs.text)
    one, other = solved(pairs, ridge=1e-12), solved(mapped, ridge=1e-12)
    assert torch.allclose(one.correlations, other.correlations, atol=1e-6)
    images, texts = one.embed_images(pairs.image), other.embed_images(mapped.image)
    assert torch.allclose((images * texts).sum(0).abs() / N, torch.ones(4, dtype=torch.float64), atol=1e-5)


def test_ridge_is_a_share_of_the_mean_variance(pairs: Batch) -> None:
    """So scaling a modality changes nothing at any ridge."""
    scaled = pairs._replace(image=1000 * pairs.image)
    assert torch.allclose(solved(pairs, ridge=0.5).correlations, solved(scaled, ridge=0.5).correlations, atol=1e-9)
    assert (solved(pairs, ridge=0.5).correlations < solved(pairs).correlations).all()


def test_ridge_makes_dependent_features_harmless(pairs: Batch) -> None:
    assert isinstance(pairs.text, Tensor)
    dependent = torch.cat([pairs.text, pairs.text.sum(1, keepdim=True)], dim=1)
    model = solved(pairs._replace(text=dependent), ridge=1e-6)
    assert torch.allclose(model.correlations, solved(pairs).correlations, atol=1e-3)


def test_whitening_is_the_inverse_root_of_the_covariance(pairs: Batch) -> None:
    centred = pairs.image - pairs.image.mean(0)
    root = whitening(centred, 0.0)
    assert torch.allclose(root, root.T)
    assert torch.allclose(root @ (centred.T @ centred / N) @ root, torch.eye(P, dtype=torch.float64), atol=1e-9)


def test_more_components_than_features_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.components is 7, more than the 6 features"):
        CCA(spec(), components=7)


def test_wikipedia_anchors(real_data: Path) -> None:
    data = Wikipedia(str(real_data / "wikipedia"), split="official-all")
    model = CCA(data.spec, components=7, ridge=1e-3)
    model.solve(data.training_pairs())
    trainer().test(model, data, verbose=False)
    assert model.measurement is not None
    metrics = model.measurement.metrics
    assert metrics["map@all/cos/label"]["i2t"] == pytest.approx(0.248, abs=0.004)
    assert metrics["map@all/cos/label"]["t2i"] == pytest.approx(0.202, abs=0.004)
    assert metrics["map@all/l2/label"]["i2t"] == pytest.approx(0.219, abs=0.004)
    assert metrics["map@50-hits/cos/label"]["t2i"] == pytest.approx(0.349, abs=0.01)
    found = model.correlations[:7].tolist()
    assert found == pytest.approx([0.556, 0.446, 0.434, 0.369, 0.343, 0.325, 0.288], abs=0.005)
