"""What holds for every encoder of what a data set serves."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.encoders import FeatureMLP, TextTransformer, TimmEncoder, WordRNN
from cmr_lightning.errors import UserError
from tests.cmr_lightning.encoders.tiny_bert import VOCABULARY, tiny_bert

WORDS = Words(len(VOCABULARY), 9)
READS: dict[Any, Any] = {FeatureMLP: Features(12), TimmEncoder: Pixels(32), WordRNN: WORDS, TextTransformer: WORDS}

every_encoder = pytest.mark.parametrize("kind", READS)


def built(kind: Any, source: Any, **more: Any) -> Any:
    settings = {
        FeatureMLP: {},
        TimmEncoder: {"model": "test_vit", "model_args": {"img_size": 32}},
        WordRNN: {"pooling": "max"},
        TextTransformer: {"model": str(tiny_bert()), "pooling": "max"},
    }
    torch.manual_seed(0)
    return kind(source, 5, **settings[kind], **more)


def content(kind: Any) -> Tensor | Tokens:
    draw = torch.Generator().manual_seed(1)
    if kind is FeatureMLP:
        return torch.randn(2, 12, generator=draw)
    if kind is TimmEncoder:
        return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return Tokens(torch.randint(5, 20, (2, 9), generator=draw), torch.arange(9) < torch.tensor([[4], [7]]))


@every_encoder
def test_input_of_another_form_is_refused(kind: Any) -> None:
    for source in set(READS.values()) - {READS[kind]}:
        with pytest.raises(
            UserError, match=rf"{kind.__name__} encodes .*, but the data set serves {type(source).__name__}"
        ):
            built(kind, source)


@every_encoder
def test_embeddings_are_nearly_the_same_in_half_precision(kind: Any) -> None:
    encoder = built(kind, READS[kind]).eval()
    embeddings = encoder(content(kind))
    assert embeddings.shape == (2, 5)
    assert embeddings.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(content(kind))
    assert torch.cosine_similarity(half.float(), embeddings).min() > 0.99


@every_encoder
def test_gradients_reach_all_that_is_trained(kind: Any) -> None:
    encoder = built(kind, READS[kind]).train()
    encoder(content(kind)).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("kind", [TimmEncoder, TextTransformer])
def test_checkpointing_changes_no_gradient(kind: Any) -> None:
    gradients = []
    for checkpointing in (False, True):
        encoder = built(kind, READS[kind], gradient_checkpointing=checkpointing)
        flag = "grad_checkpointing" if kind is TimmEncoder else "is_activation_checkpointing"
        assert getattr(encoder.backbone, flag) is checkpointing
        torch.manual_seed(1)  # the units that are dropped
        encoder.train()(content(kind)).square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.requires_grad])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))
