"""ITMeetsAL with a fine-tuned ResNet-50 and a Bi-LSTM, from JPEG files to recall, in every precision.

    python -m tests.benchmarks.pixels_to_recall [OUTPUT] [--pictures 31014] [--batches 100] [--rounds 2]

Pictures are invented scenes of 500 x 375 pixels in Flickr30k's published layout, five captions each, written below
OUTPUT once (or into a temporary folder). In each round the published experiment is trained in every precision in turn,
as it is and under torch.compile, for so many batches, by the very trainer of the command line, and tested. Without a
GPU everything is small, and says only that it works. Printed are medians over the rounds:

    pairs/s     in training, after the first batches, with all that reading, decoding and logging cost
    step ms     a training step on the device, without waiting for data
    waiting     share of the time between two steps: for the next batch, its copy to the device, and before it the work
                that the device has left
    GPU         mean of the utilisation that the driver reports while training
    memory MiB  most memory in tensors
    adversary   share of a step that discriminator and alignment cost: steps with and without them take turns
    test s      from pixels of 1,000 pictures to recall
    rsum        the recalls, which tell that something was learnt
"""

import argparse
import itertools
import json
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from joblib import cpu_count

from tests.benchmarks.photographs import write_photograph
from tests.building import ROOT, Built
from tests.datamodules.published.flickr8k import karpathy_entry, write_karpathy

EXPERIMENT = ROOT / "experiments" / "flickr30k" / "itmeetsal.yaml"
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
WARM_UP = 10
HELD_OUT = {"val": 1014, "test": 1000}


def write_data(root: Path, pictures: int) -> None:
    """Flickr30k in its published layout, with so many pictures; what is there already is kept."""
    splits = {split: min(size, pictures // 8) for split, size in HELD_OUT.items()}
    splits = {"train": pictures - sum(splits.values()), **splits}
    folder, listing = root / "flickr30k-images", root / "dataset_flickr30k.json"
    if listing.exists() and len(json.loads(listing.read_text())["images"]) == pictures:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as processes:
        texts = processes.map(write_photograph, range(pictures), [folder] * pictures, chunksize=64)
        of_split = (split for split, size in splits.items() for _ in range(size))
        images = [
            karpathy_entry(row, split, len(captions) * row, captions) | {"filename": f"{row}.jpg"}
            for row, (split, captions) in enumerate(zip(of_split, texts, strict=True))
        ]
    write_karpathy(listing, "flickr30k", images)


class Meter(pl.Callback):
    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        self.steps: list[Callable[[], float]] = []
        self.utilisation: list[float] = []
        self._training = threading.Event()

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP and model.device.type == "cuda":
            self._training.set()
            threading.Thread(target=self._watch, daemon=True).start()
        self._started, self._elapsed = time.perf_counter(), stopwatch(model.device)

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(self._elapsed())
        self.marks.append((self._started, time.perf_counter()))

    def on_train_epoch_end(self, trainer: pl.Trainer, model: Any) -> None:
        self._training.clear()

    def _watch(self) -> None:
        while self._training.is_set():
            self.utilisation.append(torch.cuda.utilization())
            time.sleep(0.1)

    def results(self, batch_size: int) -> dict[str, float]:
        marks = self.marks[WARM_UP:]
        whole = marks[-1][1] - marks[0][0]
        waiting = sum(start - end for (_, end), (start, _) in itertools.pairwise(marks))
        return {
            "pairs/s": batch_size * len(marks) / whole,
            "step ms": 1000 * statistics.median(step() for step in self.steps[WARM_UP:]),
            "waiting": waiting / whole,
            "GPU": statistics.mean(self.utilisation) / 100 if self.utilisation else float("nan"),
        }


def stopwatch(device: torch.device) -> Callable[[], Callable[[], float]]:
    """Starts now; calling it stops it, and calling what it then gives tells the seconds, once the device is done."""
    if device.type != "cuda":
        started = time.perf_counter()

        def stop() -> Callable[[], float]:
            seconds = time.perf_counter() - started
            return lambda: seconds

        return stop
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()

    def stop_there() -> Callable[[], float]:
        end.record()
        return lambda: start.elapsed_time(end) / 1000

    return stop_there


class Alternation(Meter):
    """Takes the adversary out of every other step."""

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        playing = len(self.steps) % 2 == 0
        model.active = {"generator", "discriminator"} if playing else {"generator"}
        model.weights["alignment"] = float(playing)
        super().on_train_batch_start(trainer, model, batch, batch_idx)

    def share(self) -> float:
        seconds = [step() for step in self.steps[WARM_UP:]]  # which is an even number of steps
        costs = [playing - alone for playing, alone in zip(seconds[::2], seconds[1::2], strict=False)]
        return statistics.median(costs) / statistics.median(seconds[::2])


Measured = TypeVar("Measured", bound=Meter)
Way = tuple[str, bool]
"""Precision, and whether encoders are compiled."""


def experiment(root: Path, run_dir: Path, options: argparse.Namespace, precision: str, compiled: bool) -> Built:
    """The published experiment, with the encoder in question, fine-tuned from the start."""
    pictures = "--data.init_args.image.init_args"
    return Built(
        [
            "fit",
            f"--config={EXPERIMENT}",
            f"--run_dir={run_dir}",
            f"--model.init_args.image_encoder.init_args.model={options.model}",
            "--model.init_args.image_encoder.init_args.weights=none",
            f"--model.init_args.compile={'inductor' if compiled else 'null'}",
            f"--data.init_args.root={root}",
            f"--data.init_args.batch_size={options.batch_size}",
            f"{pictures}.resize={options.size}",
            f"{pictures}.crop={options.size}",
            "--trainer.callbacks=[]",
            f"--trainer.precision={precision}",
            f"--trainer.max_epochs={options.epochs}",
            f"--trainer.limit_train_batches={options.batches}",
            "--trainer.num_sanity_val_steps=0",
            "--trainer.devices=1",
            "--trainer.enable_progress_bar=false",
            "--overwrite=true",
        ]
    )


def train(root: Path, run_dir: Path, options: argparse.Namespace, way: Way, meter: Measured) -> tuple[Built, Measured]:
    built = experiment(root, run_dir, options, *way)
    built.trainer.callbacks.append(meter)
    built.trainer.limit_val_batches = 0
    built.trainer.fit(built.model, built.datamodule)
    return built, meter


def measure(root: Path, output: Path, options: argparse.Namespace, way: Way) -> dict[str, float]:
    """Train, test, and train once more with the adversary in every other step."""
    cuda = torch.cuda.is_available()
    torch.compiler.reset()  # else the compilations of all ways add up to torch's limit, above which nothing is compiled
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    built, meter = train(root, output / "run", options, way, Meter())
    memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else float("nan")
    start = time.perf_counter()
    tester = pl.Trainer(precision=way[0], devices=1, logger=False, enable_progress_bar=False)
    tester.test(built.model, built.datamodule, verbose=False)
    found = {**meter.results(options.batch_size), "memory MiB": memory, "test s": time.perf_counter() - start}
    found["rsum"] = sum(built.model.measurement.metrics["rsum/cos/instance"].values())
    del built
    _, alternation = train(root, output / "run", options, way, Alternation())
    return {**found, "adversary": alternation.share()}


def parsed() -> argparse.Namespace:
    """The command line; small sizes where there is no GPU."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path, nargs="?", help="where pictures and runs stay; a temporary folder")
    parser.add_argument("--pictures", type=int, default=31014 if cuda else 480)
    parser.add_argument("--batches", type=int, default=100 if cuda else 22, help="training batches of an epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128 if cuda else 16)
    parser.add_argument("--size", type=int, default=224 if cuda else 64, help="pixels that the encoder sees, a side")
    parser.add_argument("--model", default="resnet50" if cuda else "resnet18")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS if cuda else PRECISIONS[:2])
    parser.add_argument("--ways", nargs="+", choices=("eager", "compiled"), default=("eager", "compiled"))
    parser.add_argument("--rounds", type=int, default=2 if cuda else 1)
    options = parser.parse_args()
    if options.batches <= 2 * WARM_UP:
        parser.error(f"--batches must be more than {2 * WARM_UP}: the first {WARM_UP} are not counted")
    return options


def main() -> None:
    options = parsed()
    sys.argv = sys.argv[:1]  # the command line that builds the models warns of arguments that it is not given
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with TemporaryDirectory() as temporary:
        output = options.output or Path(temporary)
        start = time.perf_counter()
        write_data(output / "flickr30k", options.pictures)
        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        took = time.perf_counter() - start
        print(f"{options.pictures} pictures in {took:.0f} s; {card}, {cpu_count()} cores", flush=True)
        ways = [(precision, way == "compiled") for way in options.ways for precision in options.precisions]
        found: dict[Way, list[dict[str, float]]] = {way: [] for way in ways}
        for _, way in itertools.product(range(options.rounds), ways):
            found[way].append(measure(output / "flickr30k", output, options, way))
            print(named(way), *(f"{name} {value:.4g}" for name, value in found[way][-1].items()), sep="  ", flush=True)
    print("medians")
    for way, rounds in found.items():
        medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        print(named(way), *(f"{name} {value:.4g}" for name, value in medians.items()), sep="  ")


def named(way: Way) -> str:
    return f"{way[0]}{', compiled' if way[1] else ''}"


if __name__ == "__main__":
    main()
