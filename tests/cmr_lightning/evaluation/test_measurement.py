import pytest
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Measurement, measure, measurement
from cmr_lightning.evaluation.metrics import score
from cmr_lightning.evaluation.protocols import CLASS_LEVEL, ECCV, FIVE_FOLD, INSTANCE_LEVEL, Protocol
from cmr_lightning.evaluation.ranks import rank
from cmr_lightning.evaluation.relevance import Judgements, Positives, Relevance


def captioned_images(images: int = 20, texts_per_image: int = 5, noise: float = 1.0, seed: int = 0):
    """Images in 4 classes, and weakly aligned texts, with their keys."""
    generator = torch.Generator().manual_seed(seed)
    image, number = torch.randn(images, 8, generator=generator), torch.arange(images)
    owner = number.repeat_interleave(texts_per_image)
    text = image[owner] + noise * torch.randn(len(owner), 8, generator=generator)
    return image, text, {"label": (number % 4, owner % 4), "instance": (number, owner)}


def test_metrics_and_ranks_have_their_names():
    result = measure(*captioned_images(), CLASS_LEVEL + INSTANCE_LEVEL)
    assert isinstance(result, Measurement)
    assert set(result.metrics) == {protocol.id for protocol in CLASS_LEVEL + INSTANCE_LEVEL}
    rankings = ("cos/label", "l2/label", "cos/instance")
    assert set(result.ranks) == {f"{direction}/{ranking}" for direction in ("i2t", "t2i") for ranking in rankings}
    for name, values in result.metrics.items():
        assert set(values) - {"sum"} == {"i2t", "t2i", "mean"}
        assert ("sum" in values) == name.startswith("rsum/")
        assert values["mean"] == (values["i2t"] + values["t2i"]) / 2
    recalls = [result.metrics[f"recall@{k}/cos/instance"] for k in (1, 5, 10)]
    both = sum(values["i2t"] + values["t2i"] for values in recalls)
    assert result.metrics["rsum/cos/instance"]["sum"] == pytest.approx(both)


def test_directions_are_not_exchanged():
    images, texts, keys = captioned_images()
    protocol = Protocol("recall", "instance", k=1)
    result = measure(images, texts, keys, [protocol])
    i2t = rank(images, texts, Relevance(*keys["instance"]), "cos")
    t2i = rank(texts, images, Relevance(*keys["instance"]).transposed(), "cos")
    assert result.metrics[protocol.id]["i2t"] == score(i2t, protocol)
    assert result.metrics[protocol.id]["t2i"] == score(t2i, protocol)
    assert score(i2t, protocol) != score(t2i, protocol)
    assert result.ranks["i2t/cos/instance"].num_queries == 20
    assert result.ranks["t2i/cos/instance"].num_queries == 100


def test_each_ranking_is_made_once(monkeypatch):
    calls = []
    monkeypatch.setattr(measurement, "rank", lambda *args: calls.append(args[3]) or rank(*args))
    measure(*captioned_images(), CLASS_LEVEL + INSTANCE_LEVEL)
    assert sorted(calls) == ["cos"] * 4 + ["l2"] * 2


def test_protocols_need_their_keys_and_an_image_for_each_fold():
    images, texts, keys = captioned_images()
    with pytest.raises(UserError, match="rsum/cos/instance needs instance keys"):
        measure(images, texts, {"label": keys["label"]}, INSTANCE_LEVEL)
    four = torch.arange(4)
    with pytest.raises(UserError, match="rsum/cos/instance/5fold divides the images into 5 folds, but there are 4"):
        measure(torch.eye(4), torch.eye(4), {"instance": (four, four)}, FIVE_FOLD)


@pytest.mark.parametrize(("images", "sizes"), [(20, [4] * 5), (23, [5, 5, 5, 4, 4]), (5, [1] * 5)])
def test_folds_are_consecutive_images_with_their_own_texts(images, sizes):
    """Against a loop that takes the images and texts of each fold out and measures them alone."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(images, 4, generator=generator)
    owner = torch.arange(images).repeat_interleave(torch.arange(images) % 3 + 4).flip(0)
    text = image[owner] + torch.randn(len(owner), 4, generator=generator)
    result = measure(image, text, {"instance": (torch.arange(images), owner)}, INSTANCE_LEVEL + FIVE_FOLD)
    loop: dict[str, list[dict[str, float]]] = {protocol.id: [] for protocol in INSTANCE_LEVEL}
    first = 0
    for number, size in enumerate(sizes, 1):
        of_fold = [row for row in range(len(owner)) if first <= owner[row] < first + size]
        keys = {"instance": (torch.arange(first, first + size), owner[of_fold])}
        alone = measure(image[first : first + size], text[of_fold], keys, INSTANCE_LEVEL)
        for name, values in alone.metrics.items():
            loop[name].append(values)
        assert result.ranks[f"i2t/cos/instance/5fold/{number}"].num_queries == size
        assert result.ranks[f"t2i/cos/instance/5fold/{number}"].gallery_size == size
        first += size
    assert first == images
    for name, folds in loop.items():
        for direction, value in result.metrics[f"{name}/5fold"].items():
            assert value == pytest.approx(sum(values[direction] for values in folds) / 5)
    assert result.ranks["i2t/cos/instance"].num_queries == images


def test_judged_items_are_queries_and_everything_is_gallery():
    """Against the formulas of ECCV Caption on explicit orders, with other lists in the two directions."""
    generator = torch.Generator().manual_seed(2)
    images, texts = torch.randn(6, 4, generator=generator), torch.randn(30, 4, generator=generator)
    lists = {"i2t": {0: [3, 1, 2], 4: [20, 21, 9, 29]}, "t2i": {7: [0, 5], 2: [1], 29: [4, 2, 3]}}
    judgements = {"eccv": Judgements(Positives.of(lists["i2t"], 30), Positives.of(lists["t2i"], 6))}
    result = measure(images, texts, {}, ECCV, judgements=judgements)
    similarity = torch.nn.functional.cosine_similarity(images[:, None], texts[None], dim=2)
    for direction, scores in (("i2t", similarity), ("t2i", similarity.T)):
        maps, precisions, recalls = [], [], []
        for query, relevant in lists[direction].items():
            order = scores[query].argsort(descending=True).tolist()
            hits = [item in relevant for item in order[: len(relevant)]]
            maps.append(sum(sum(hits[: r + 1]) / (r + 1) for r in range(len(hits)) if hits[r]) / len(hits))
            precisions.append(sum(hits) / len(hits))
            recalls.append(100.0 * hits[0])
        for values, protocol in zip((maps, precisions, recalls), ECCV, strict=True):
            assert result.metrics[protocol.id][direction] == pytest.approx(sum(values) / len(values))
    assert result.ranks["i2t/cos/eccv"].num_queries == 2
    assert result.ranks["t2i/cos/eccv"].num_queries == 3
    assert result.ranks["t2i/cos/eccv"].gallery_size == 6


def test_queries_ask_and_all_others_answer():
    images, texts, keys = captioned_images()
    asking = torch.arange(20) % 4 == 1
    owner = keys["instance"][1]
    result = measure(images, texts, keys, [CLASS_LEVEL[0]], queries=(asking, asking[owner]))
    relevance = Relevance(keys["label"][0][asking], keys["label"][1][~asking[owner]])
    i2t = rank(images[asking], texts[~asking[owner]], relevance, "cos")
    assert result.metrics[CLASS_LEVEL[0].id]["i2t"] == score(i2t, CLASS_LEVEL[0])
    assert result.ranks["t2i/cos/label"].num_queries == 25
    assert result.ranks["t2i/cos/label"].gallery_size == 15
    with pytest.raises(ValueError, match="every item is query and gallery"):
        measure(images, texts, keys, FIVE_FOLD, queries=(asking, asking[owner]))
