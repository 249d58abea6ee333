"""Pascal Sentence as DSCMR distributes it, in miniature: true shapes and order, invented features."""

from pathlib import Path

import numpy as np
import scipy.io

from datamodules.pascal_sentence_dscmr import PascalSentenceDSCMR
from datamodules.reading.committed_splits import read_split
from tests.datamodules.published.invention import Expected

load = PascalSentenceDSCMR
TINY = {"batch_size": 32}
SPLITS = [
    Expected({}, "800/100, 100 of the 800 carved for validation", "7aa36f13fc855189", (700, 100, 100)),
    Expected(
        {"split": "official-all"},
        "800/100, the 100 validation rows trained on too",
        "e6bd9b730613b95c",
        (800, 100, 100),
        "train+val",
    ),
]


def write(root: Path) -> None:
    """Write Pascal Sentence as DSCMR distributes it."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    carved = read_split("pascal_sentence_dscmr_validation")["rows"]
    order = sorted(range(20), key=lambda label: carved[str(label)][0])
    prototype = {"img": rng.gamma(0.5, 1.0, (20, 4096)), "txt": rng.gamma(0.5, 1.0, (20, 300))}
    for half, per_class in (("train", 40), ("test", 5)):
        labels = np.repeat(order, per_class)
        for kind, mean in prototype.items():
            features = np.maximum(mean[labels] + rng.normal(0, 1.0, (len(labels), mean.shape[1])), 0)
            scipy.io.savemat(root / f"{half}_{kind}.mat", {f"{half}_{kind}": features.astype(np.float32)})
        scipy.io.savemat(root / f"{half}_img_lab.mat", {f"{half}_img_lab": labels[:, None].astype(np.int64)})
