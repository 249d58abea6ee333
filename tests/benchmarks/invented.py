"""Random features of any size, for measurements in which their content does not matter."""

import torch

from cmr_lightning.evaluation import CLASS_LEVEL
from datamodules.base import CrossModalData, PartName, Split
from datamodules.reading.loaders import Part

CLASSES = 20


def encoder_options(**settings: object) -> list[str]:
    """What the command line says to give both encoders the same settings."""
    prefixes = [f"--model.init_args.{side}_encoder.init_args" for side in ("image", "text")]
    return [f"{prefix}.{key}={value}" for prefix in prefixes for key, value in settings.items()]


class Invented(CrossModalData):
    """The same random features, `image` and `text` numbers a pair, for every part."""

    classes = tuple(f"class {c}" for c in range(CLASSES))
    protocols = CLASS_LEVEL
    features = "invented"
    split = Split("invented", "0" * 16)

    def __init__(self, image: int = 1280, text: int = 1000, pairs: int = 2560, batch_size: int = 128) -> None:
        super().__init__(batch_size)
        self.image, self.text, self.pairs = image, text, pairs

    def read(self, part: PartName) -> Part:
        draw = torch.Generator().manual_seed(0)
        return Part(
            image=torch.rand(self.pairs, self.image, generator=draw),
            text=torch.rand(self.pairs, self.text, generator=draw),
            label=torch.arange(self.pairs) % CLASSES,
            owner=torch.arange(self.pairs),
            image_names=tuple(str(i) for i in range(self.pairs)),
            captions=tuple("" for _ in range(self.pairs)),
        )
