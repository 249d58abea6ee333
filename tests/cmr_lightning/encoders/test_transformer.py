from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cmr_lightning.batch import Tokens, Words
from cmr_lightning.encoders import TextTransformer
from cmr_lightning.errors import UserError
from tests.cmr_lightning.encoders.tiny_bert import VOCABULARY, tiny_bert

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
POOLINGS = ("mean", "cls", "max", "pooler")
COMBINATIONS = [(t, p) for t in ("bert", "clip", "siglip") for p in POOLINGS if (t, p) != ("clip", "cls")]
BERT = Words(len(VOCABULARY), 9)
END = 98
"""The last of the ids, with which texts end for CLIP and are filled up for it."""


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Words]]:
    """Folders of small models, with the form of the texts that they read."""
    folder = tmp_path_factory.mktemp("towers")
    transformers.utils.logging.disable_progress_bar()
    text = {**SMALL, "vocab_size": 99, "max_position_embeddings": 12, "eos_token_id": END, "bos_token_id": 97}
    image = {**SMALL, "image_size": 32, "patch_size": 16}
    clip = transformers.CLIPConfig(text_config={**text, "pad_token_id": END}, vision_config=image)
    siglip = transformers.SiglipConfig(text_config={**text, "pad_token_id": 1}, vision_config=image)
    torch.manual_seed(0)
    transformers.CLIPModel(clip).save_pretrained(folder / "clip")
    transformers.SiglipModel(siglip).save_pretrained(folder / "siglip")
    offset = {**SMALL, "vocab_size": 99, "max_position_embeddings": 18, "pad_token_id": 1}
    transformers.RobertaModel(transformers.RobertaConfig(**offset)).save_pretrained(folder / "roberta")
    transformers.MPNetModel(transformers.MPNetConfig(**offset)).save_pretrained(folder / "mpnet")
    forward = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=99, n_positions=12)
    transformers.GPT2Model(forward).save_pretrained(folder / "gpt2")
    causal = transformers.BertConfig(**SMALL, vocab_size=99, is_decoder=True)
    transformers.BertModel(causal).save_pretrained(folder / "causal")
    distil = transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=99)
    transformers.DistilBertModel(distil).save_pretrained(folder / "distil")
    return {
        "bert": (str(tiny_bert()), BERT),
        "clip": (str(folder / "clip"), Words(99, 9, padding=END)),
        "siglip": (str(folder / "siglip"), Words(99, 9, padding=1)),
        "distil": (str(folder / "distil"), Words(99, 9)),
        "roberta": (str(folder / "roberta"), Words(99, 16, padding=1)),
        "mpnet": (str(folder / "mpnet"), Words(99, 16, padding=1)),
        "gpt2": (str(folder / "gpt2"), Words(99, 9)),
        "causal": (str(folder / "causal"), Words(99, 9)),
    }


def built(tower: tuple[str, Words], pooling: str = "mean", **kwargs: Any) -> TextTransformer:
    torch.manual_seed(0)
    folder, source = tower
    return TextTransformer(source, 5, folder, pooling=pooling, **kwargs).eval()  # type: ignore[arg-type]


def texts(padding: int, length: int = 9) -> Tokens:
    ids = torch.full((2, length), padding)
    ids[0, :4] = torch.tensor([97, 5, 6, END])
    ids[1, :7] = torch.tensor([97, 7, 8, 9, 10, 11, END])
    mask = torch.zeros(2, length, dtype=torch.bool)
    mask[0, :4] = mask[1, :7] = True
    return Tokens(ids % 77 if padding == 0 else ids, mask)  # the small BERT has fewer ids


@pytest.mark.parametrize(("tower", "pooling"), COMBINATIONS)
def test_texts_to_the_common_space_whatever_stands_at_masked_places(
    towers: dict[str, tuple[str, Words]], tower: str, pooling: str
) -> None:
    encoder = built(towers[tower], pooling)
    tokens = texts(towers[tower][1].padding)
    embeddings = encoder(tokens)
    assert embeddings.shape == (2, 5)
    tokens.ids[~tokens.mask] = 33
    assert torch.allclose(encoder(tokens), embeddings, atol=1e-6)
    shorter = Tokens(tokens.ids[:1, :4], tokens.mask[:1, :4])
    assert torch.allclose(encoder(shorter), embeddings[:1], atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_over_the_states_of_the_text(towers: dict[str, tuple[str, Words]], pooling: str) -> None:
    encoder = built(towers["bert"], pooling)
    tokens = texts(0)
    output = encoder.backbone(input_ids=tokens.ids[:1, :4])
    states = output.last_hidden_state
    pooled = {"mean": states.mean(1), "cls": states[:, 0], "max": states.amax(1), "pooler": output.pooler_output}
    assert torch.allclose(encoder(tokens)[:1], encoder.projection(pooled[pooling]), atol=1e-5)


def test_clip_pools_at_the_first_end_of_the_text(towers: dict[str, tuple[str, Words]]) -> None:
    encoder = built(towers["clip"], "pooler")
    states = encoder.backbone(input_ids=texts(END).ids).last_hidden_state
    assert torch.allclose(encoder(texts(END)), encoder.projection(states[[0, 1], [3, 6]]), atol=1e-5)


def test_siglip_reads_padding_up_to_its_full_length(towers: dict[str, tuple[str, Words]]) -> None:
    folder, _ = towers["siglip"]
    whole = transformers.AutoModel.from_pretrained(folder).eval()
    pooled = whole.text_model(input_ids=texts(1, length=12).ids).pooler_output
    encoder = built(towers["siglip"], "pooler")
    assert torch.allclose(encoder(texts(1)), encoder.projection(pooled), atol=1e-5)


@pytest.mark.parametrize(("tower", "pooling"), COMBINATIONS)
def test_gradients_reach_all_that_is_trained(towers: dict[str, tuple[str, Words]], tower: str, pooling: str) -> None:
    encoder = built(towers[tower], pooling).train()
    encoder(texts(towers[tower][1].padding)).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in encoder.parameters())


def test_half_precision_files_make_full_precision_models(tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(tiny_bert()).half().save_pretrained(tmp_path)
    assert all(p.dtype == torch.float32 for p in TextTransformer(BERT, 5, str(tmp_path)).parameters())


@pytest.mark.parametrize(
    ("tower", "source", "pooling", "says"),
    [
        ("bert", Words(len(VOCABULARY) + 1, 9), "mean", "data.text to SubwordTokens with the tokenizer"),
        ("bert", Words(len(VOCABULARY), 9, words=VOCABULARY), "mean", "data.text to SubwordTokens with the tokenizer"),
        ("clip", Words(99, 13, padding=END), "mean", "reads 12 tokens, but texts have up to 13"),
        ("distil", Words(99, 9), "pooler", "makes no pooled vector; set .*pooling"),
    ],
)
def test_texts_that_do_not_fit_are_refused(
    towers: dict[str, tuple[str, Words]], tower: str, source: Words, pooling: str, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        built((towers[tower][0], source), pooling)


@pytest.mark.parametrize(
    ("tower", "pooling"), [("clip", "cls"), ("gpt2", "cls"), ("causal", "cls"), ("causal", "pooler")]
)
def test_poolings_that_make_one_vector_of_all_texts_are_refused(
    towers: dict[str, tuple[str, Words]], tower: str, pooling: str
) -> None:
    with pytest.raises(UserError, match=rf"pooling is {pooling}, .*all texts are the same; set it to mean"):
        built(towers[tower], pooling)
    assert built(towers[tower], "mean")(texts(towers[tower][1].padding)).shape == (2, 5)


@pytest.mark.parametrize("eos", [END, 2])
def test_clip_pools_at_the_end_of_the_text_in_old_configs_as_well(tmp_path: Path, eos: int) -> None:
    """The first configs of CLIP said 2, where its texts end with the largest id."""
    config = transformers.CLIPTextConfig(**SMALL, vocab_size=99, max_position_embeddings=12, eos_token_id=eos)
    transformers.CLIPTextModel(config).save_pretrained(tmp_path)
    assert built((str(tmp_path), Words(99, 9, padding=0)), "pooler").pooling == "pooler"


@pytest.mark.parametrize("tower", ["roberta", "mpnet"])
def test_positions_that_are_counted_from_behind_the_padding_shorten_texts(
    towers: dict[str, tuple[str, Words]], tower: str
) -> None:
    folder, source = towers[tower]
    longest = torch.full((1, source.length), 5)
    assert built(towers[tower])(Tokens(longest, longest > 0)).isfinite().all()
    with pytest.raises(UserError, match=r"reads 16 tokens, but texts have up to 17; set .*max_length to 16"):
        built((folder, Words(99, 17, padding=1)))


def test_weights_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    whole = transformers.AutoModel.from_pretrained(tiny_bert())
    lacking = {name: t for name, t in whole.state_dict().items() if not name.startswith("pooler")}
    whole.save_pretrained(tmp_path, state_dict=lacking)
    TextTransformer(BERT, 5, str(tmp_path))
    with pytest.raises(UserError, match="lack 2 tensors of the model, first pooler"):
        TextTransformer(BERT, 5, str(tmp_path), pooling="pooler")
    del lacking["encoder.layer.0.output.dense.weight"]
    whole.save_pretrained(tmp_path, state_dict=lacking)
    with pytest.raises(UserError, match=r"lack 1 tensors of the model, first encoder\.layer\.0\.output"):
        TextTransformer(BERT, 5, str(tmp_path))


def test_missing_models_are_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^some/bert .* its files .*/some/bert .* as text_encoder.init_args.model"):
        TextTransformer(BERT, 5, "some/bert")
    with pytest.raises(UserError, match=r"cannot be loaded .*config\.json and model\.safetensors"):
        TextTransformer(BERT, 5, str(tmp_path))
    with pytest.raises(
        UserError, match=r"^The folder .*/nowhere, given as text_encoder.init_args.model, does not exist"
    ):
        TextTransformer(BERT, 5, str(tmp_path / "nowhere"))
