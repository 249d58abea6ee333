"""Tokens of a pretrained text encoder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cmr_lightning.batch import Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import short_checksum
from cmr_lightning.files.hub import from_hub, local_folder
from cmr_lightning.ranges import Name, TextLength
from datamodules.inputs.text_inputs import TextInput
from datamodules.inputs.vocabulary import padded
from datamodules.reading.listing import Listing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OPTION = "data.text.init_args.tokenizer"

_MOST_UNKNOWN = 0.05
"""Above this share of unknown tokens a vocabulary is not that of the texts, or was not read."""

_NO_LIMIT = 10**9
"""Tokenizers that know no limit give a number far above this one."""


class SubwordTokens(TextInput):
    """Tokens of a pretrained text encoder, for `TextTransformer`.

    Texts begin and end as the tokenizer has it: with `[CLS]` and `[SEP]` for BERT, with begin and end of text for CLIP.
    Nothing is learnt from the training captions but the length to which texts are filled up.

    Args:
        tokenizer: Name on the hub, or a folder with tokenizer.json; the same that `TextTransformer` is given.
        max_length: Most tokens of a text, its begin and end included; None for as many as the longest training caption,
            but no more than the tokenizer says that its model reads.

    Raises:
        UserError: If the tokenizer is missing or cannot fill texts up.
    """

    remedy = f"give a tokenizer of their language as {_OPTION}"

    def __init__(self, tokenizer: Name, max_length: TextLength | None = None) -> None:
        self.name = tokenizer
        self.max_length = max_length

    @property
    def description(self) -> str:
        """The tokenizer."""
        return f"tokens of {self.name}"

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens."""
        return Words(len(self.tokenizer), length, padding=self.padding)

    def learn(self, train: Listing) -> None:
        """Load the tokenizer, and find the length of the training captions and the share of their unknown tokens.

        Raises:
            UserError: If it does not know too many of their words.
        """
        self.tokenizer, self.padding = _load(self.name)
        texts = self._read(train.captions, self.max_length)
        unknown = self._share_of_unknown(texts)
        if unknown > _MOST_UNKNOWN:
            raise UserError(
                f"{unknown:.0%} of the tokens of the training captions are unknown to the tokenizer {self.name}; "
                f"{self.remedy}, and see that its vocabulary of {len(self.tokenizer)} is whole."
            )
        self.length = max(len(text) for text in texts)

    def learned(self) -> dict[str, Any]:
        """Return the length of texts, the checksum of the tokenizer, and its files."""
        return {"length": self.length, "tokenizer": _checksum(self.tokenizer), "files": _files(self.tokenizer)}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Load the tokenizer, and take the length of an earlier training.

        Raises:
            UserError: If the model was trained with another tokenizer.
        """
        self.load(learned["length"])
        if (found := _checksum(self.tokenizer)) != learned["tokenizer"]:
            raise UserError(
                f"The tokenizer {self.name} has the checksum {found}, but the model was trained with one that had "
                f"{learned['tokenizer']}; give that one as {_OPTION}."
            )

    def load(self, length: int) -> None:
        """Load the tokenizer for texts of `length` tokens, without any training captions."""
        self.tokenizer, self.padding = _load(self.name)
        self.length = length

    def revive(self, learned: Mapping[str, Any]) -> None:
        """Make the tokenizer from its files of that training, wherever it was loaded from then."""
        with TemporaryDirectory() as folder:
            for name, content in learned["files"].items():
                Path(folder, Path(name).name).write_bytes(content.encode("utf-8", "surrogateescape"))
            self.tokenizer, self.padding = _load(folder)
        self.length = learned["length"]

    def unknown_share(self, listing: Listing) -> float:
        """Return the share of tokens that are unknown."""
        return self._share_of_unknown(self._read(listing.captions, self.length))

    def content(self, listing: Listing) -> Tokens:
        """Return tokens `(P, L)`."""
        return padded(self._read(listing.captions, self.length), self.length, self.padding)

    def _read(self, captions: Sequence[str], length: int | None) -> list[list[int]]:
        longest = min(length or _NO_LIMIT, self.tokenizer.model_max_length)
        limited = longest < _NO_LIMIT
        return self.tokenizer(list(captions), truncation=limited, max_length=longest if limited else None)["input_ids"]

    def _share_of_unknown(self, texts: Sequence[Sequence[int]]) -> float:
        unknown = self.tokenizer.unk_token_id
        if unknown in (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id):  # CLIP's ends every text
            return 0.0
        return sum(text.count(unknown) for text in texts) / sum(len(text) for text in texts)


def _checksum(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return what changes when the tokenizer does: the start of the SHA-256 of its words and rules."""
    if not tokenizer.is_fast:
        return short_checksum(str(sorted(tokenizer.get_vocab().items())).encode())
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    lengths = ("truncation", "padding")  # those of the last texts that it read
    return short_checksum(json.dumps({key: rules[key] for key in rules if key not in lengths}).encode())


def _files(tokenizer: "PreTrainedTokenizerBase") -> dict[str, str]:
    """Return the files that the tokenizer can be loaded from, by their names; a byte that is no text is escaped."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
        return {path.name: path.read_bytes().decode("utf-8", "surrogateescape") for path in files}


def _load(name: str) -> "tuple[PreTrainedTokenizerBase, int]":
    """Load a tokenizer, and the id that fills texts up."""
    from transformers import AutoTokenizer

    folder = local_folder(name, _OPTION)

    def load(local: bool) -> "PreTrainedTokenizerBase":
        return AutoTokenizer.from_pretrained(str(folder or name), local_files_only=local)

    try:
        tokenizer = load(True) if folder else from_hub(load, name, "its tokenizer", f"{_OPTION}, a folder")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}, given as {_OPTION}, cannot be loaded ({reason}); it should be a name on the hub, or a folder "
            f"with tokenizer.json and tokenizer_config.json."
        ) from error
    if (padding := tokenizer.pad_token_id) is None:
        raise UserError(
            f"The tokenizer {name} has no token that fills texts up; choose that of a text encoder as {_OPTION}."
        )
    return tokenizer, padding
