"""What of the training part is told: how many pairs are known, how many are wrong, and whose labels are known.

The links and labels that are not told are taken out of the part before anything is trained on it: there is no place
left from which they could reach a loss. Validation and test parts stay whole and clean.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked, CountFromZero, Seed, UnitInterval
from datamodules.reading.loaders import Part

UNKNOWN = -1
"""Owner of a text, or class index of an item, that is not told; of several labels, none is told."""


@dataclass(frozen=True)
class Regime(Checked):
    """How the training part is served; as it is, by default.

    All is drawn by the seed, and nested: what is known of few pairs is known of more, and pairs or labels that are
    wrong at one share are wrong at a larger one.

    - **Pairs.** Images in a random order that has the classes in equal shares from the beginning; the first of them
      keep all their texts. The others are images and texts that nobody knows to belong together.
    - **Wrong pairs.** Of the images that keep their texts, these pass them on, one to the next, so that exactly so many
      have texts of another image. Their label is that of the image. Han et al. (2021), "Learning with Noisy
      Correspondence for Cross-modal Matching", permute a share of the captions, of which some come back to their image.
    - **Wrong labels.** Images, with their texts, that get one of the other classes, each as likely.

    Args:
        paired: Images whose texts are known, as a number, or as a share with a decimal point (1.0 is all); None for
            all.
        pair_noise: Share of these that have the texts of another of them, 0 to 1.
        labels: Items whose labels are known: all, those of known pairs, or none.
        label_noise: Share of the images whose label is wrong, 0 to 1.
        seed: Seed of the draw; None for that of the run, or in Python of torch when the data set is made.

    Examples:
        >>> Regime(paired=40, labels="paired").words
        'paired 40, labels of the paired'
    """

    paired: CountFromZero | UnitInterval | None = None
    pair_noise: UnitInterval = 0.0
    labels: Literal["all", "paired", "none"] = "all"
    label_noise: UnitInterval = 0.0
    seed: Seed | None = None

    @property
    def whole(self) -> bool:
        """Whether everything is told as it is."""
        return replace(self, seed=None) == Regime()

    def seeded(self) -> "Regime":
        """Return it with the seed that it has from now on."""
        return self if self.seed is not None else replace(self, seed=torch.initial_seed() % 2**32)

    @property
    def words(self) -> str:
        """The regime in words, without its seed; empty where everything is told."""
        parts = [] if self.paired is None else [f"paired {self.paired}"]
        parts += [f"pair noise {self.pair_noise}"] if self.pair_noise else []
        parts += {"all": [], "paired": ["labels of the paired"], "none": ["no labels"]}[self.labels]
        parts += [f"label noise {self.label_noise}"] if self.label_noise else []
        return ", ".join(parts)

    def tell(self, part: Part, labelled: bool) -> tuple[Part, dict[str, int | str]]:
        """Return what is told of a training part, with counts and a checksum of what was drawn.

        Args:
            part: The part as it is.
            labelled: Whether its labels matter.

        Raises:
            UserError: If the part has not so many images, no labels to be left out, or nothing remains to learn from.
        """
        self._check(part, labelled)
        order = _balanced_order(part.label, self._generator("pairs"))
        known = order[: self._number(part.num_images)]
        moved = self._moved(known, part.num_images)
        owner = torch.full_like(part.owner, UNKNOWN)
        linked = torch.isin(part.owner, known)
        owner[linked] = moved[part.owner[linked]]
        label = self._noisy(part.label)
        text_label = label[torch.where(linked, owner, part.owner)]
        passed_on = moved != torch.arange(part.num_images)
        facts: dict[str, int | str] = {
            "words": self.words,
            "seed": self._seed,
            "pairs": len(known),
            "wrong_pairs": int(passed_on.sum()),
            "wrong_pairs_of_one_label": int((passed_on & _same_rows(part.label[moved], part.label)).sum()),
            "wrong_labels": int((~_same_rows(label, part.label)).sum()),
        }
        if self.labels != "all":
            paired = torch.isin(torch.arange(part.num_images), known)
            of_paired = self.labels == "paired"
            label = _left_out(label, ~paired if of_paired else torch.ones_like(paired))
            text_label = _left_out(text_label, ~linked if of_paired else torch.ones_like(linked))
        told = b"".join(tensor.numpy().tobytes() for tensor in (owner, label, text_label))
        checksum = hashlib.sha256(told).hexdigest()[:16]
        return replace(part, owner=owner, label=label, text_label=text_label), {**facts, "checksum": checksum}

    def _check(self, part: Part, labelled: bool) -> None:
        if isinstance(self.paired, int) and self.paired > part.num_images:
            raise UserError(
                f"data.regime.paired is {self.paired}, but there are {part.num_images} training images; give a smaller "
                f"number, or a share with a decimal point."
            )
        about_labels = self.labels != "all" or self.label_noise > 0
        if about_labels and not labelled:
            raise UserError("data.regime leaves out or changes labels, but the data set is measured without labels.")
        if self.label_noise and part.label.ndim == 2:
            raise UserError("data.regime.label_noise is for items of one label, but here they have several.")
        if self._number(part.num_images) == 0 and not (labelled and self.labels == "all"):
            raise UserError(
                "data.regime knows no pairs and no labels, so there is nothing to learn from; set paired or labels."
            )

    def _number(self, images: int) -> int:
        return images if self.paired is None else _part_of(self.paired, images)

    def _generator(self, of: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *of.encode()])

    @property
    def _seed(self) -> int:
        if self.seed is None:
            raise TypeError("a regime draws by a seed; call `seeded` before")
        return self.seed

    def _moved(self, known: Tensor, number: int) -> Tensor:
        """Map each image `(M,)` to the image that its texts are said to belong to."""
        images = torch.arange(number)
        order = known[self._generator("wrong pairs").permutation(len(known))]
        wrong = _part_of(self.pair_noise, len(known))
        if wrong == 1:
            raise UserError(
                f"data.regime.pair_noise is {self.pair_noise}, so one of {len(known)} pairs would be wrong, but two "
                f"images are needed to exchange their texts; give a larger share."
            )
        images[order[:wrong]] = order[:wrong].roll(-1)
        return images

    def _noisy(self, label: Tensor) -> Tensor:
        number = _part_of(self.label_noise, len(label))
        if number == 0:
            return label
        generator, classes = self._generator("wrong labels"), int(label.max()) + 1
        steps = torch.from_numpy(generator.integers(1, classes, len(label)))
        chosen = torch.from_numpy(generator.permutation(len(label))[:number])
        noisy = label.clone()
        noisy[chosen] = (label[chosen] + steps[chosen]) % classes
        return noisy


def _part_of(share: float, number: int) -> int:
    """Return a number of things as it is, and a share of them rounded."""
    return share if isinstance(share, int) else round(share * number)


def _balanced_order(label: Tensor, generator: np.random.Generator) -> Tensor:
    """Order items at random so that the first ones have each class in its share; those of several labels just so."""
    order = generator.permutation(len(label))
    if label.ndim == 2:
        return torch.from_numpy(order)
    place = np.empty(len(label))
    for of_class in (order[label.numpy()[order] == c] for c in label.unique().tolist()):
        place[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return torch.from_numpy(order[np.argsort(place[order], kind="stable")])


def _same_rows(label: Tensor, other: Tensor) -> Tensor:
    return (label == other).reshape(len(label), -1).all(1)


def _left_out(label: Tensor, where: Tensor) -> Tensor:
    mask = where if label.ndim == 1 else where[:, None]
    return label.masked_fill(mask, UNKNOWN if label.ndim == 1 else 0)
