"""A BERT that is small enough for tests, as a folder such as people have."""

from functools import cache
from pathlib import Path
from string import ascii_lowercase, digits, punctuation
from tempfile import TemporaryDirectory

_LETTERS = ascii_lowercase + digits
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *_LETTERS,
    *(f"##{letter}" for letter in _LETTERS),
    *punctuation,
)
"""Letters, so that every English word is known."""


_folder = TemporaryDirectory(prefix="tiny_bert")


@cache
def tiny_bert() -> Path:
    """Folder of a BERT of two layers with its tokenizer, written once a process and gone at its end."""
    write_tiny_bert(Path(_folder.name))
    return Path(_folder.name)


def write_tiny_bert(folder: Path, vocabulary: tuple[str, ...] = VOCABULARY) -> None:
    """Write config, weights and tokenizer of a BERT with random weights."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=512, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    # `vocab`, not `vocab_file`, which transformers 5 takes and ignores.
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)}, model_max_length=512)
    assert len(tokenizer) == len(vocabulary)
    tokenizer.save_pretrained(folder)
