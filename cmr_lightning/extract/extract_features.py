"""`extract`: pretrained encoders run over a data set once, their features kept in a feature store.

Encoders are named as in an experiment; what is kept is what their last layer, the projection into the common space,
would read. The batches of a shard are the same whatever was interrupted, so a store does not depend on it.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import tee
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn

import cmr_lightning.encoders  # noqa: F401  (makes the short class names known)
import datamodules  # noqa: F401  (likewise)
from cmr_lightning.config_errors import errors_for_people, refuse_null, set_up_parsing
from cmr_lightning.errors import UserError
from cmr_lightning.extract.progress import ExtractionProgress
from cmr_lightning.extract.sources import PictureSource, Source, TextSource, Whole
from cmr_lightning.files.config_files import config_files
from cmr_lightning.files.names import check_name, check_path
from cmr_lightning.ranges import Count
from cmr_lightning.retriever import ImageEncoder, TextEncoder
from cmr_lightning.store import Dtype, Manifest, StoreWriter, places_of_stores
from datamodules.families.listed_data import ListedData
from datamodules.reading.reading_ahead import ReadingAhead

Precision = Literal[32, "bf16", "fp16"]
_AUTOCAST = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def main(arguments: Sequence[str]) -> None:
    """Run `extract`, the first of the arguments, with the options that follow."""
    parser = build_parser()
    with errors_for_people(config_files(arguments)):
        options = parser.parse_args(list(arguments[1:]))
        refuse_null(parser, options)
        settings = parser.instantiate_classes(options)
    encoders = {modality: describe(options[modality]) for modality in ("image", "text") if options[modality]}
    try:
        extract(**{key: value for key, value in settings.items() if key != "config"}, encoders=encoders)
    except KeyboardInterrupt as stop:
        stop.add_note("The same command continues where it stopped.")
        raise


def build_parser() -> ArgumentParser:
    """Return the parser of the options and config files of `extract`."""
    set_up_parsing()
    parser = ArgumentParser(
        prog="python -m cmr_lightning extract",
        description="Run pretrained encoders over a data set once, and keep their features.",
        parser_mode="omegaconf+",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="File with the settings below.")
    parser.add_function_arguments(extract, skip={"encoders"})
    return parser


def describe(options: Namespace) -> str:
    """Name an encoder by class and arguments for the manifest, without defaults and without where its weights are.

    Examples:
        >>> settings = Namespace(in_features=3, out_features=2, bias=True)
        >>> describe(Namespace(class_path="torch.nn.Linear", init_args=settings))
        'Linear {"in_features": 3, "out_features": 2}'
    """
    module, _, name = options.class_path.rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    given = {
        key: Path(value).name if isinstance(value, str) and Path(value).exists() else value
        for key, value in options.get("init_args", Namespace()).as_dict().items()
        if key != "weights" and value != parameters[key].default
    }
    return f"{name} {json.dumps(given, sort_keys=True)}"


def extract(
    data: ListedData,
    name: str,
    encoders: dict[str, str],
    image: ImageEncoder | None = None,
    text: TextEncoder | None = None,
    rotations: bool = False,
    ten_crop: bool = False,
    precision: Precision = 32,
    dtype: Dtype = "float16",
    batch_size: Count = 64,
    device: str = "auto",
    folder: str = "features",
) -> None:
    """Encode all parts of a data set, each picture and each text once, into `<folder>/<name>/image` and `.../text`.

    Args:
        data: The data set; `data.image` says how pictures are resized and cut and how many processes decode them,
            `data.text` makes tokens.
        name: Name of the store, by which experiments find it.
        encoders: How the manifests name the encoders, by modality.
        image: What encodes the pictures, as in an experiment; None to leave them out.
        text: What encodes the texts, as in an experiment; None to leave them out.
        rotations: Whether pictures are seen turned by 0, 90, 180 and 270 degrees.
        ten_crop: Whether features are the mean over four corners, the middle, and their mirror images.
        precision: Type of the numbers that encoders compute with.
        dtype: Type of the numbers that are kept.
        batch_size: Pictures or texts encoded at once.
        device: `cpu`, `cuda`, `cuda:1` and so on; `auto` for a GPU if there is one.
        folder: Where stores are kept: `features` stands for `runs/features/<data set>` in the working directory, and so
            do other names; or an absolute path.

    Raises:
        UserError: If a setting, a picture, or the store that is already there is not right.
    """
    if image is None and text is None:
        raise UserError("There is nothing to extract: set image, text, or both.")
    check_name(name, "store", nested=False)
    run = Extraction(named_device(device), precision, dtype, batch_size)
    stores = check_path(places_of_stores(data.root, folder)[0] / name, "folder")
    if image is not None:
        pictures = PictureSource(data, rotations, ten_crop)
        run.fill(stores / "image", pictures, bare(image, data.spec.image), encoders["image"])
    if text is not None:
        run.fill(stores / "text", TextSource(data), bare(text, data.spec.text), encoders["text"])


def bare(encoder: ImageEncoder | TextEncoder, source: object) -> nn.Module:
    """Build an encoder without its projection into the common space, ready to encode.

    Raises:
        UserError: If it has none that could be left out.
    """
    torch.manual_seed(0)  # weights that are not loaded are at least the same each time
    module = encoder(source, 1)  # type: ignore[arg-type]
    if not isinstance(getattr(module, "projection", None), nn.Linear):
        raise UserError(
            f"{type(module).__name__} ends in no projection that could be left out, so it has no features to extract."
        )
    module.projection = nn.Identity()
    return module.eval().requires_grad_(False)


@dataclass(frozen=True)
class Extraction:
    """Settings by which features are computed; see `extract`."""

    device: torch.device
    precision: Precision
    dtype: Dtype
    batch_size: int

    def fill(self, folder: Path, source: Source[Whole], encoder: nn.Module, name: str) -> None:
        """Encode the rows that the store `folder` lacks; the manifest calls the encoder `name`."""
        checksum = weights_checksum(encoder)
        encoder = encoder.to(self.device)
        shape = len(source.rows.ids), *self._encode(source, encoder, source.read(range(1))).shape[1:]
        data, precision = source.rows.checksum(), str(self.precision)
        manifest = Manifest(name, checksum, source.preprocessing, precision, data, self.dtype, shape)
        with StoreWriter(folder, source.rows, manifest) as writer:
            missing = sum(map(len, writer.missing()))
            if missing:
                self._fill(writer, source, encoder, missing)
            if not writer.finish():
                print(f"{folder}: other processes are at work on the last rows.")
                return
        size = " x ".join(map(str, shape))
        print(f"{folder}: {size} {self.dtype}, {missing} rows of them new; encoder: {folder.parent.name}")

    def _fill(self, writer: StoreWriter, source: Source[Whole], encoder: nn.Module, missing: int) -> None:
        done: list[Tensor] = []
        total = len(source.rows.ids)
        jobs, ahead = tee(self._jobs(writer))
        batches = ReadingAhead(source.read, source.processes)(rows for _, rows in ahead)
        with ExtractionProgress(source.what, total - missing, total) as progress:
            for batch, (shard, rows) in zip(batches, jobs, strict=False):
                done.append(self._encode(source, encoder, batch))
                progress.advance(len(rows))
                if rows.stop == shard.stop:
                    writer.write(shard, torch.cat(done))
                    done.clear()

    def _jobs(self, writer: StoreWriter) -> Iterator[tuple[range, range]]:
        """Yield the shard and the rows of each batch."""
        for shard in writer.claims():
            for first in range(shard.start, shard.stop, self.batch_size):
                yield shard, range(first, min(first + self.batch_size, shard.stop))

    def _encode(self, source: Source[Whole], encoder: nn.Module, batch: Whole) -> Tensor:
        with computing_as(str(self.precision), self.device):
            return source.encode(encoder, move_data_to_device(batch, self.device)).float().cpu()


@contextmanager
def computing_as(precision: str, device: torch.device) -> Iterator[None]:
    """Compute features inside, in a precision as a manifest names it."""
    with torch.inference_mode(), torch.autocast(device.type, _AUTOCAST[precision], enabled=precision != "32"):
        yield


def weights_checksum(encoder: nn.Module) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of all weights, normalisation of the input included.

    Examples:
        >>> weights_checksum(nn.ReLU())  # no weights at all
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted([*encoder.named_parameters(), *encoder.named_buffers()]):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def named_device(name: str) -> torch.device:
    """Return the device of a name, with `auto` a GPU if there is one.

    Raises:
        UserError: If this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise UserError(f"device is {name}, which this machine does not have; set device to cpu or auto.") from error
    return device
