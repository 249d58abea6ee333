"""What a model was trained on: kept in its checkpoints, and compared with the data that later commands are given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.batch import DataSpec, Features, Input, Pixels, Words
from cmr_lightning.errors import UserError

Use = Literal["resume", "val", "test"]
"""What a trained model is used for: further training, or measuring one part of the data."""

_FORMS = {form.__name__: form for form in (Features, Pixels, Words)}


@dataclass(frozen=True)
class TrainedOn:
    """All that a model has learned or decided from data beside its weights, and what tells these data from others.

    Attributes:
        dataset: Class name of the data set.
        split: Name and checksum of its split.
        classes: Names of the label classes, in the order of their numbers.
        spec: What the model was built for.
        learned: What inputs of encoders have learned, such as a vocabulary; see `CrossModalData.learned`.
        checksums: Checksums of the training and the validation part as encoders saw them.
        pictures: The pictures of both parts, see `numbers_of`.
    """

    dataset: str
    split: Mapping[str, str]
    classes: Sequence[str]
    spec: DataSpec
    learned: Mapping[str, Any]
    checksums: Mapping[str, str]
    pictures: Mapping[str, Tensor]

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain values and tensors, which a checkpoint may hold."""
        forms = {name: _plain_form(getattr(self.spec, name)) for name in ("image", "text")}
        return {**vars(self), "spec": {**self.spec._asdict(), **forms}}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> TrainedOn:
        """Read what `as_plain` returned."""
        spec = {**content["spec"], **{name: _form(content["spec"][name]) for name in ("image", "text")}}
        return cls(**{**content, "spec": DataSpec(**spec)})

    def refuse_other_labels(self, task: str, classes: Sequence[str]) -> None:
        """Raise UserError if data set another task, or a task by labels with other labels."""
        if task != self.spec.relevance:
            raise UserError(
                f"The model was trained for the task {self.spec.relevance!r}, but the settings under data set the task "
                f"{task!r}; use the settings of its training."
            )
        if task != "label" or list(classes) == list(self.classes):
            return
        new = _some("new", [name for name in classes if name not in self.classes])
        gone = _some("gone", [name for name in self.classes if name not in classes])
        raise UserError(
            f"The data do not have the labels that the model was trained with "
            f"({'; '.join(filter(None, (new, gone))) or 'their order differs'}); use the data of its training, or "
            f"train again."
        )

    def compare(self, here: TrainedOn, use: Use, measured: Tensor) -> dict[str, str]:
        """Compare the data of a training with those that are here, read with the vocabulary of the training.

        Args:
            here: The same of the data that are here.
            use: What the model is used for.
            measured: Pictures of the part that is to be measured, see `numbers_of`; not needed to resume.

        Returns:
            What is different and does not harm: how it was in the training, in words.

        Raises:
            UserError: If the model cannot be used so on these data, or its numbers would not be what they seem.
        """
        for name in ("image", "text"):
            trained, found = getattr(self.spec, name), getattr(here.spec, name)
            if trained != found:
                raise UserError(
                    f"The model was trained on {name}s of the form {trained}, but those of the data have {found}; use "
                    f"the settings under data.{name} of its training."
                )
        dataset = {} if here.dataset == self.dataset else {"data set": self.dataset}
        return dataset | self._compare_split(here, use, measured) | self._compare_parts(here, use)

    def _compare_split(self, here: TrainedOn, use: Use, measured: Tensor) -> dict[str, str]:
        trained, found = (f"{split['name']} (checksum {split['checksum']})" for split in (self.split, here.split))
        if here.split["checksum"] == self.split["checksum"]:
            return {}
        if use == "resume":
            raise UserError(
                f"The run was trained on the split {trained}, but the data have {found}; resume with the split of the "
                f"run, or start over with --overwrite=true."
            )
        seen = self.pictures["train"] if use == "val" else torch.cat(list(self.pictures.values()))
        if known := int(torch.isin(measured, seen).sum()):
            raise UserError(
                f"The model was trained on the split {trained}, but the data have {found}: {known} of the "
                f"{len(measured)} pictures of this {use} part were seen in training; use the split of the run."
            )
        return {"split": trained}

    def _compare_parts(self, here: TrainedOn, use: Use) -> dict[str, str]:
        changed = [part for part in self.checksums if here.checksums[part] != self.checksums[part]]
        if changed and use == "resume":
            before, now = self.checksums[changed[0]], here.checksums[changed[0]]
            raise UserError(
                f"The {changed[0]} part has changed since the run began: its checksum was {before} and is {now}; get "
                f"the data of the run back, or start over with --overwrite=true."
            )
        return {f"{part} part": f"checksum {self.checksums[part]}" for part in changed}


def numbers_of(names: Sequence[str]) -> Tensor:
    """Return names as sorted numbers `(M,)` int64, the beginnings of their SHA-256, which take less room."""
    digests = b"".join(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8] for name in names)
    return torch.from_numpy(np.sort(np.frombuffer(digests, dtype="<i8")))


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more}" if names else ""


def _plain_form(form: Input) -> dict[str, Any]:
    return {"form": type(form).__name__, **asdict(form)}


def _form(content: Mapping[str, Any]) -> Input:
    settings = dict(content)
    return _FORMS[settings.pop("form")](**settings)
