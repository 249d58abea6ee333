"""Scores of runs and their comparisons: the metric by unit, planted differences, and refusals."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Ranks, Record, Relevance, measure, per_query, rank, score
from cmr_lightning.reports.comparison import Comparisons, ScoredRun, check_comparable, compare, differences, score_run
from cmr_lightning.reports.difference import over_splits, paired, unpaired
from cmr_lightning.reports.statistics import LEVEL
from tests.cmr_lightning.evaluation.test_measurement import captioned_images
from tests.cmr_lightning.reports.made_runs import MAP, RECORD, on_split


def record(experiment: str = "wikipedia/daml", seed: int = 0, split: str = "a", **changes) -> Record:
    values = {"dataset": "Wikipedia", "metrics": {MAP: {}}, "encoders": {"features": "SIFT; LDA"}, **on_split(split)}
    return replace(RECORD, experiment=experiment, seed=seed, **{**values, **changes})


def scored(i2t: np.ndarray, t2i: np.ndarray, **changes) -> ScoredRun:
    """A run with the given scores of its units."""
    scores = {"i2t": i2t, "t2i": t2i, "mean": (i2t + t2i) / 2}
    metrics = {MAP: {direction: float(values.mean()) for direction, values in scores.items()}}
    return ScoredRun(record(metrics=metrics, **changes), scores)


def measured(noise: float, seed: int, protocol: Protocol, texts_per_image: int = 1, images: int = 60):
    """Embeddings of pairs with noise, measured: the record and the ranks."""
    found = measure(*captioned_images(images, texts_per_image, noise, seed), [protocol])
    return record(protocol=protocol.id, metrics=found.metrics), found.ranks


def answered(hit: np.ndarray) -> Ranks:
    """Ranks of queries with one relevant item each, in the first place or in the second."""
    ones = np.ones(len(hit), dtype=np.int32)
    return Ranks(np.arange(len(hit) + 1), (~hit).astype(np.int32), ones, ones, gallery_size=40)


def recorded(ranks: dict[str, Ranks], protocol: Protocol) -> Record:
    """The record of ranks in two directions."""
    i2t, t2i = (score(part, protocol) for part in ranks.values())
    return record(protocol=protocol.id, metrics={protocol.id: {"i2t": i2t, "t2i": t2i, "mean": (i2t + t2i) / 2}})


def test_captions_of_one_image_are_not_taken_for_independent():
    """Equal methods, with luck that an image's five captions share: as single queries they would often differ."""
    rng, trials, protocol = np.random.default_rng(7), 150, Protocol.parse("recall@1/cos/instance")

    def experiment(luck: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scores of three seeds, `(S, Q)`, by unit and by caption."""
        units, captions = [], []
        for _seed in range(3):
            hit = np.repeat(luck, 5) ^ (rng.random(200) < 0.1)
            ranks = {"i2t/cos/instance": answered(rng.random(40) < 0.5), "t2i/cos/instance": answered(hit)}
            units.append(score_run(recorded(ranks, protocol), ranks).scores["t2i"])
            captions.append(100 * per_query(ranks["t2i/cos/instance"], protocol))
        return np.stack(units), np.stack(captions)

    rejected = np.zeros(2)
    for _ in range(trials):
        one, other = (experiment(rng.random(40) < 0.5) for _ in range(2))
        rejected += [unpaired(a, b).p_value <= LEVEL for a, b in zip(one, other, strict=True)]
    by_unit, by_caption = rejected.astype(int).tolist()
    assert stats.binomtest(by_unit, trials, LEVEL).pvalue > 0.01, f"{by_unit / trials:.3f} rejected"
    assert by_caption / trials > 0.2


@pytest.mark.parametrize("protocol", [MAP, "recall@5/cos/instance", "rsum/cos/instance", "rsum/cos/instance/5fold"])
@pytest.mark.parametrize("texts_per_image", [1, 5])
def test_scores_of_a_run_have_its_metrics_as_mean(protocol, texts_per_image):
    of_run, ranks = measured(1.0, 0, Protocol.parse(protocol), texts_per_image)
    scores = score_run(of_run, ranks).scores
    for direction in ("i2t", "t2i", "mean"):
        assert scores[direction].shape == (60,)
        assert scores[direction].mean() == pytest.approx(of_run.metrics[protocol][direction])


def test_folds_of_unequal_size_count_alike_and_captions_of_an_image_are_one_unit():
    assert len(score_run(*measured(1.0, 0, Protocol.parse("rsum/cos/instance/5fold"), images=58)).scores["mean"]) == 58
    protocol = Protocol.parse("recall@1/cos/instance")
    of_run, ranks = measured(1.0, 0, protocol, texts_per_image=5)
    captions = 100 * per_query(ranks["t2i/cos/instance"], protocol)
    np.testing.assert_allclose(score_run(of_run, ranks).scores["t2i"], captions.reshape(60, 5).mean(axis=1))


def test_queries_without_relevant_items_count_as_in_the_metric():
    image, text = torch.randn(4, 3), torch.randn(4, 3)
    keys = Relevance(torch.tensor([0, 1, 2, 9]), torch.tensor([0, 1, 2, 8]))
    i2t, t2i = rank(image, text, keys, "cos"), rank(text, image, keys.transposed(), "cos")
    ranks = {"i2t/cos/label": i2t, "t2i/cos/label": t2i}
    scores = score_run(recorded(ranks, Protocol.parse(MAP)), ranks).scores
    assert scores["i2t"][3] == scores["t2i"][3] == 0
    assert (scores["i2t"][:3] > 0).all()


def test_what_has_no_test_and_ranks_of_another_run_are_refused():
    of_run, _ = measured(0.5, 0, Protocol.parse(MAP))
    _, others = measured(0.5, 1, Protocol.parse(MAP))
    with pytest.raises(UserError, match=r"wikipedia/daml, seed 0, split split a give i2t .* record says .*run `test`"):
        score_run(of_run, others)
    with pytest.raises(UserError, match="lack i2t/cos/label, t2i/cos/label; run `test` again"):
        score_run(of_run, {})
    for protocol in ("median-rank/cos/instance", "map@50-hits-nonempty/cos/label"):
        with pytest.raises(UserError, match="is no mean over queries"):
            score_run(*measured(0.5, 0, Protocol.parse(protocol)))


def test_a_planted_difference_is_found_and_a_null_is_not():
    rng = np.random.default_rng(9)
    difficulty = rng.uniform(0, 1, 300)

    def runs(name: str, i2t: float, t2i: float) -> list[ScoredRun]:
        def noisy(gain: float) -> np.ndarray:
            return difficulty + gain + 0.01 * rng.normal() + 0.2 * rng.normal(size=300)

        return [scored(noisy(i2t), noisy(t2i), experiment=name, method=name, seed=seed) for seed in range(5)]

    experiments = {"ours": runs("ours", 0.06, 0), "same": runs("same", 0, 0), "random": runs("random", -0.3, -0.3)}
    compared = compare(experiments, "same")
    found = compared.rows
    assert list(found) == list(experiments)
    gain = found["ours"]["i2t"]
    assert gain.p_holm is not None
    assert gain.p_holm <= LEVEL
    assert gain.difference is not None
    assert gain.difference.mean == pytest.approx(0.06, abs=0.03)
    assert found["ours"]["t2i"].difference.p_value > LEVEL
    assert [found[name]["i2t"].letters for name in experiments] == ["a", "b", "c"]
    assert [found[name]["t2i"].letters for name in experiments] == ["a", "a", "b"]
    assert found["random"]["mean"].p_holm <= 2 * found["random"]["mean"].difference.p_value
    assert found["random"]["mean"].difference == differences(experiments["random"], experiments["same"])["mean"]
    assert (found["same"]["i2t"].difference, found["same"]["i2t"].p_holm) == (None, None)
    assert compared.typical is not None
    assert compared.typical.seeds == 5
    assert compared.typical.seed_variance == pytest.approx(2 * (0.01**2 + 0.04 / 600), rel=0.8)


def test_a_method_and_its_variant_are_paired_by_seed_and_different_methods_are_not():
    rng = np.random.default_rng(10)
    scores = {name: rng.normal(size=(3, 20)) for name in ("a", "a_less", "b", "of_other_seeds")}
    seeds = {"a": (0, 1, 2), "a_less": (2, 0, 1), "b": (0, 1, 2), "of_other_seeds": (3, 4, 5)}
    runs = {
        name: [
            scored(scores[name][seed % 3], scores[name][seed % 3], seed=seed, method=name.replace("_less", "")[:1])
            for seed in of_experiment
        ]
        for name, of_experiment in seeds.items()
    }
    runs["of_other_seeds"] = [replace(run, record=replace(run.record, method="a")) for run in runs["of_other_seeds"]]
    assert differences(runs["a"], runs["a_less"])["i2t"] == paired(scores["a"], scores["a_less"])
    for other in ("b", "of_other_seeds"):
        assert differences(runs["a"], runs[other])["t2i"] == unpaired(scores["a"], scores[other])


def on_splits(name: str, seeds: str, values: list[float], **changes) -> list[ScoredRun]:
    """Runs on the splits x, y and z, with seeds and scores in that order."""
    pictures = {"train": 80, "val": 10, "test": 10}
    return [
        scored(
            np.full(4, value),
            np.full(4, value),
            experiment=name,
            seed=int(seed),
            split=split,
            pictures=pictures,
            **changes,
        )
        for seed, split, value in zip(seeds, "xyz", values, strict=True)
    ]


def test_several_splits_are_paired_whatever_their_seeds():
    """Each split has units of its own; the mean of a split is that of its seeds."""
    ours, theirs = on_splits("a", "012", [0.5, 0.7, 0.6]), on_splits("b", "210", [0.4, 0.5, 0.5], method="Triplet")
    theirs += on_splits("b", "345", [0.2, 0.5, 0.3], method="Triplet")
    found = compare({"a": ours, "b": theirs}, "b").rows["a"]["mean"]
    assert found.difference.p_value == over_splits(np.array([0.2, 0.2, 0.2]), 4, 1 / 8).p_value
    ours[0].scores["i2t"][:] = 0.6
    expected = over_splits(np.array([0.3, 0.2, 0.2]), 4, 1 / 8)
    assert vars(differences(ours, theirs)["i2t"]) == pytest.approx(vars(expected))
    unknown = [replace(run, record=replace(run.record, pictures={})) for run in ours]
    with pytest.raises(UserError, match="records of a or b do not say how many pictures each part has; run `test`"):
        differences(unknown, theirs)


def test_one_seed_is_no_basis_for_any_claim():
    rng = np.random.default_rng(11)
    several = {name: [scored(*rng.random((2, 20)), experiment=name, seed=seed) for seed in (0, 1)] for name in "ab"}
    single = {name: [scored(np.full(20, 9.0), np.zeros(20), experiment=name)] for name in "cd"}
    assert compare(single, "c") == compare({"a": several["a"]}) == Comparisons({}, None)
    found = compare({**several, **single}, "c").rows
    assert list(found) == ["a", "b"]
    assert all((of["mean"].difference, of["mean"].p_holm) == (None, None) for of in found.values())
    with pytest.raises(UserError, match="The reference triplet is not among the experiments a"):
        compare(several, "triplet")
    with pytest.raises(UserError, match="a has one query, which says nothing about others"):
        compare({name: [scored(np.ones(1), np.ones(1), experiment=name, seed=s) for s in (0, 1)] for name in "ab"})


BOTH = [record("a", 0, "x"), record("a", 1, "y")]


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ([record("a")], [record("b", seed=1)], None),
        (BOTH, [record("b", 0, "y"), record("b", 1, "x")], None),
        ([record("a")], [record("b", protocol="recall@1/l2/label")], f"a .* and b .* protocol: {MAP} against recall@1"),
        ([record("a")], [record("b", dataset="Shapes")], "a .* and b .* differ in data set: Wikipedia against Shapes"),
        ([record("a")], [record("b", encoders={"features": "VGG"})], "differ in features: SIFT; LDA against VGG"),
        ([record("a")], [record("b", data_checksum="ff")], r"differ in data \(checksum\): data of a against ff"),
        ([record("a"), record("a", 1, data_checksum="ff")], [], r"a \(seed 0\) and a \(seed 1\) cannot be compared"),
        ([record("a")], [record("b", split="z")], r"a and b .* split: split a \(a\) against split z \(z\)"),
        (BOTH, [record("b", 0, "x"), record("b", 1, "x")], r"split x \(x\), split y \(y\) against split x \(x\)"),
        ([record("a"), record("a")], [], "a has 2 runs with seed 0 on split split a; leave all but one out"),
    ],
)
def test_what_was_not_measured_alike_is_refused(a, b, sentence):
    experiments = {"a": a, "b": b} if b else {"a": a}
    with pytest.raises(UserError, match=sentence) if sentence else nullcontext():
        check_comparable(experiments)
