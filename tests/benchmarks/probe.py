"""What the probe finds in pairs of known laws, beside logistic regression, and what a probe costs.

    python -m tests.benchmarks.probe [REPEATS]

Each row is a law of pairs with 64 dimensions: images and texts are normal with a correlation of 0.9 within a pair,
and images are shifted so that the best possible classifier tells so many points as the row says. In `torn` rows the
texts are shuffled before the folds are made, so that an image and its text may come to lie in different folds. Printed
are means over repeats, for the probe and for logistic regression, and the figure that is expected of the latter. Then
follow the deviation of the probe where there is nothing to tell, and the time of one probe.
"""

import math
import sys
import time
from collections.abc import Callable
from statistics import NormalDist, mean, stdev

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmr_lightning.evaluation.game_state import null_deviation
from cmr_lightning.game.probe import FOLDS, probe

ITEMS = (50, 100, 200, 500)
DIM = 64
LAWS: dict[str, tuple[float, bool, tuple[float, ...]]] = {
    "0.50": (0.5, False, (0.5, 0.5, 0.5, 0.5)),
    "0.50, torn": (0.5, True, (0.2, 0.24, 0.28, 0.35)),
    "0.55": (0.55, False, (0.5, 0.51, 0.52, 0.53)),
    "0.60": (0.6, False, (0.52, 0.55, 0.56, 0.58)),
    "0.70": (0.7, False, (0.63, 0.62, 0.66, 0.69)),
}
"""The best possible accuracy, whether pairs are torn, and what is expected of logistic regression at `ITEMS`."""


def pairs(items: int, dim: int, best: float = 0.5, correlation: float = 0.9, torn: bool = False) -> Tensor:
    """Draw pairs `(N, 2, D)` of which the best classifier tells a share `best` of the points."""
    common, own = torch.randn(items, 1, dim), torch.randn(items, 2, dim)
    views = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    views[:, 0, 0] += 2 * NormalDist().inv_cdf(best)
    if torn:
        views[:, 1] = views[torch.randperm(items), 1]
    return views


def logistic(views: Tensor) -> float:
    """The same probe with scikit-learn's logistic regression."""
    items, number, dim = views.shape
    model = make_pipeline(StandardScaler(), LogisticRegression())
    modality, item = np.tile(np.arange(number), items), np.repeat(np.arange(items), number)
    points = views.reshape(-1, dim).numpy()
    told = cross_val_predict(model, points, modality, groups=item, cv=GroupKFold(FOLDS))
    return float(np.mean(told == modality))


def repeated(find: Callable[[Tensor], float], repeats: int, items: int, **law: float) -> list[float]:
    torch.manual_seed(0)
    return [find(pairs(items, DIM, **law)) for _ in range(repeats)]  # type: ignore[arg-type]


def milliseconds(find: Callable[[Tensor], float], views: Tensor) -> float:
    find(views)
    start = time.perf_counter()
    for _ in range(5):
        find(views)
    return 1000 * (time.perf_counter() - start) / 5


def main(repeats: int) -> None:
    torch.set_num_threads(1)
    print(f"best possible  {'items':>6} {'probe':>8} {'logistic':>9} {'expected':>9}")
    for name, (best, torn, expected) in LAWS.items():
        for items, figure in zip(ITEMS, expected, strict=True):
            found = [mean(repeated(f, repeats, items, best=best, torn=torn)) for f in (probe, logistic)]
            print(f"{name:<14} {items:>6} {found[0]:>8.3f} {found[1]:>9.3f} {figure:>9.2f}")
    print("\ndeviation where there is nothing to tell, by the correlation within pairs")
    print(f"{'items':>6} {'none':>7} {'0.9':>7} {'expected':>9}")
    for items in ITEMS:
        none, alike = (stdev(repeated(probe, 4 * repeats, items, correlation=c)) for c in (0.0, 0.9))
        print(f"{items:>6} {none:>7.3f} {alike:>7.3f} {null_deviation(items):>9.3f}")
    print("\nmilliseconds a probe")
    print(f"{'items':>6} {'D':>5} {'probe':>7} {'logistic':>9}")
    for items, dim in ((100, 64), (500, 128), (1000, 128), (1000, 1024)):
        views = pairs(items, dim, best=0.7)
        print(f"{items:>6} {dim:>5} {milliseconds(probe, views):>7.1f} {milliseconds(logistic, views):>9.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
