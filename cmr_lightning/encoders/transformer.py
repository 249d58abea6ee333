"""Encoder of texts by a pretrained transformer."""

import json
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cmr_lightning.batch import Input, Tokens, Words
from cmr_lightning.encoders.backbone import BackboneEncoder
from cmr_lightning.encoders.texts import pool
from cmr_lightning.errors import UserError
from cmr_lightning.files.hub import from_hub, local_folder
from cmr_lightning.ranges import Name, Positive, PositiveShare, Width

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_OPTION = "text_encoder.init_args.model"

_UNUSED_IDS = 128
"""How many ids a model may have beyond its tokenizer's: some vocabularies are filled up to a round number."""

_SAME = 1e-4
"""Vectors whose distance is less than that share of their length differ by rounding alone."""

_POOLERS = ("pooler", "head")
"""Names that BERT and SigLIP give to the layers of their own pooled vector."""


class TextTransformer(BackboneEncoder):
    """A pretrained text encoder of transformers, its states pooled and projected linearly into the common space.

    BERT and its family, and the text towers of CLIP, SigLIP and other models of two towers. Texts come as the tokens of
    the model's own tokenizer: `data.text` is `SubwordTokens` of the same name or folder.

    Args:
        source: Form of the input; must be words.
        dim: Size D of the common space.
        model: Name on the hub, or a folder with config.json and weights; or the content of a config.json, to start from
            random weights.
        pooling: How the states of the tokens become one vector: `mean` or `max` over the tokens of the text, `cls` for
            the state of the first one, or `pooler` for the vector that the model itself makes: of BERT's first token,
            CLIP's end-of-text token, SigLIP's last position.
        frozen: Keep the backbone as it is.
        backbone_lr_scale: Learning rate of the backbone as a multiple of the optimizer's.
        backbone_layer_decay: Learning rate of each layer as a multiple of that of the layer after it, 0 to 1.
        gradient_checkpointing: Compute activations of the backbone again in the backward pass instead of keeping them:
            less memory, more time.

    Raises:
        UserError: If the data set serves something else than words, or words of another tokenizer; if the weights are
            missing or incomplete; if texts may be longer than the model reads, it has no pooled vector, or the pooling
            gives every text the same one.
    """

    def __init__(
        self,
        source: Input,
        dim: Width,
        model: Name | dict[str, Any],
        pooling: Literal["mean", "cls", "max", "pooler"] = "mean",
        frozen: bool = False,
        backbone_lr_scale: Positive = 1.0,
        backbone_layer_decay: PositiveShare = 1.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        if not isinstance(source, Words):
            raise UserError(f"TextTransformer encodes words, but the data set serves {source}; use FeatureMLP.")
        if isinstance(model, dict):
            whole, model = _with_random_weights(model), "The model"
        else:
            whole = _load(model, pooling)
        backbone = _text_encoder(whole)
        _check(backbone, source, model, pooling)
        backbone.train()
        super().__init__(backbone, backbone.config.hidden_size, dim, frozen, backbone_lr_scale, backbone_layer_decay)
        self.config = json.loads(whole.config.to_json_string(use_diff=False))
        self.pooling = pooling
        self.padding = source.padding
        self.whole_length = _whole_length(backbone) if pooling == "pooler" else None
        if pooling != "pooler":
            for name, parameter in backbone.named_parameters():
                if _in_pooler(name):  # it would get no gradients, for which distributed training waits
                    parameter.requires_grad_(False)
        if gradient_checkpointing:
            backbone.activation_checkpointing_enable({"use_reentrant": False})
        if not self._tells_texts_apart():
            raise UserError(
                f"text_encoder.init_args.pooling is {pooling}, but by the first token of {model}, which knows nothing "
                f"of those behind it, all texts are the same; set it to mean, or to pooler as the model was trained."
            )

    def without_files(self) -> dict[str, Any]:
        """Return the arguments by which it is built again without the files that it started from."""
        return {"model": self.config}

    def forward(self, tokens: Tokens) -> Tensor:
        """Encode tokens `(N, L)` as embeddings `(N, D)`; ids at masked places do not matter."""
        return self.projection(self._pooled(tokens))

    def _pooled(self, tokens: Tokens) -> Tensor:
        ids = tokens.ids.masked_fill(~tokens.mask, self.padding)
        with self.recording():
            if self.whole_length is None:
                output = self.backbone(input_ids=ids, attention_mask=tokens.mask.long())
            else:
                output = self.backbone(input_ids=F.pad(ids, (0, self.whole_length - ids.shape[1]), value=self.padding))
        if self.pooling == "pooler":
            return output.pooler_output
        return pool(output.last_hidden_state, tokens.mask, self.pooling)

    def _tells_texts_apart(self) -> bool:
        """Tell whether two texts that only begin alike get two vectors: not by the first state of CLIP's text tower."""
        config: Any = self.backbone.config
        end = getattr(config, "eos_token_id", None)  # CLIP's pooled vector is that of the first of these
        ends = [end] if isinstance(end, int) and end < config.vocab_size else []
        first, one, other = [number for number in range(3, 9) if number not in (self.padding, end)][:3]
        ids = torch.tensor([[first, one, *ends], [first, other, *ends]])
        with torch.no_grad():
            vectors = self.eval()._pooled(Tokens(ids, torch.ones_like(ids, dtype=torch.bool)))
        self.train()
        return bool((vectors[0] - vectors[1]).norm() > _SAME * vectors[0].norm())


def _with_random_weights(config: dict[str, Any]) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModel

    try:
        return AutoModel.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"No model can be made by the config given as {_OPTION} ({reason}).") from error


def _load(model: str, pooling: str) -> "PreTrainedModel":
    """Load the model of a text encoder with all its weights."""
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    def load(local: bool) -> "tuple[PreTrainedModel, dict[str, set[str]]]":
        # Without dtype, transformers makes a half-precision model of a half-precision file.
        name = str(folder or model)
        return AutoModel.from_pretrained(name, dtype=torch.float32, local_files_only=local, output_loading_info=True)

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists heads that are not needed; missing weights are reported below
    folder = local_folder(model, _OPTION)
    try:
        whole, report = load(True) if folder else from_hub(load, model, "its files", f"{_OPTION}, a folder")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{model}, given as {_OPTION}, cannot be loaded ({reason}); it should be a name on the hub, or a folder "
            f"with config.json and model.safetensors."
        ) from error
    absent = sorted(name for name in report["missing_keys"] if pooling == "pooler" or not _in_pooler(name))
    if absent:
        raise UserError(
            f"The weights of {model} lack {len(absent)} tensors of the model, first {absent[0]}; give complete weights "
            f"as {_OPTION}, or choose another pooling if it is the pooler that they lack."
        )
    return whole


def _text_encoder(whole: "PreTrainedModel") -> "PreTrainedModel":
    """Return the encoder, or the text tower, of a whole model."""
    encoder = whole.get_encoder() if whole.config.is_encoder_decoder else whole
    return getattr(encoder, "text_model", encoder)


def _in_pooler(name: str) -> bool:
    return not set(_POOLERS).isdisjoint(name.split("."))


def _check(backbone: "PreTrainedModel", source: Words, model: str, pooling: str) -> None:
    """Raise unless tokens and model fit each other, and the model can be pooled so."""
    config = backbone.config
    if source.words or not config.vocab_size - _UNUSED_IDS <= source.vocabulary <= config.vocab_size:
        raise UserError(
            f"{model} knows {config.vocab_size} tokens, but the {source.vocabulary} that data.text makes are others; "
            f"set data.text to SubwordTokens with the tokenizer {model}."
        )
    longest = _longest(backbone)
    if longest is not None and source.length > longest:
        raise UserError(
            f"{model} reads {longest} tokens, but texts have up to {source.length}; set data.text.init_args.max_length "
            f"to {longest}."
        )
    with torch.no_grad():
        output = backbone.eval()(input_ids=torch.full((1, 1), source.padding))
    if pooling == "pooler" and output.get("pooler_output") is None:
        raise UserError(f"{model} makes no pooled vector; set text_encoder.init_args.pooling to mean, max or cls.")


def _longest(backbone: "PreTrainedModel") -> int | None:
    """Count the tokens that the model reads; None where it has no limit."""
    positions = getattr(backbone.config, "max_position_embeddings", None)
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return positions - (module.padding_idx + 1)  # RoBERTa and its family count positions from behind that one
    return positions


def _whole_length(backbone: "PreTrainedModel") -> int | None:
    """Return the length to which texts must be padded where padding is read as text; None where it is masked."""
    # SigLIP was trained without a mask on texts of full length, and its pooled vector is that of the last position.
    return backbone.config.max_position_embeddings if backbone.config.model_type.startswith("siglip") else None
