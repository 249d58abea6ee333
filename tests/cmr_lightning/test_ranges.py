"""Values outside their range: each is refused by the parser with its key, and by Python when an object is built."""

import ast
import copy
import inspect
import math
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any, get_args

import numpy as np
import pytest
from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse._parameter_resolvers import get_signature_parameters
from omegaconf import OmegaConf
from pydantic import TypeAdapter
from torch import nn

import cmr_lightning.encoders
import cmr_lightning.game
import cmr_lightning.game.alignments
from cmr_lightning import discriminators, ranges
from cmr_lightning.callbacks import WandbWatch
from cmr_lightning.config_errors import errors_for_people
from cmr_lightning.discriminators import ConcatCritic, DotProductCritic, ModalityClassifier, RotationClassifier
from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.encoders import Concatenation, FeatureMLP, WordRNN
from cmr_lightning.errors import UserError
from cmr_lightning.game import AdversarialDiagnostics, Stage
from cmr_lightning.game.schedules import try_out
from cmr_lightning.methods import METHODS
from cmr_lightning.methods.cca import CCA
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.info_nce import InfoNCE
from cmr_lightning.methods.tirg import TIRG
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.ranges import Checked, Count, Name, Positive, Probability, Seed, refusal
from datamodules.base import CrossModalData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import TextInput, WordTokens, WordWeights
from datamodules.shapes import Shapes
from tests.building import EXPERIMENTS
from tests.test_package import MODULES, imported_by
from tests.toy import Toy, ToyComposed, toy_model

NAN, INF = math.nan, math.inf

# Objects in Python ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: toy_model(DAML, Toy(), discriminator_steps=0), "discriminator_steps of DAML is 0"),
        (lambda: toy_model(DAML, Toy(), discriminator_steps=-1), "discriminator_steps of DAML is -1"),
        (lambda: toy_model(DAML, Toy(), accumulate=0), "accumulate of DAML is 0"),
        (lambda: toy_model(DAML, Toy(), generator_clip=-1.0), "generator_clip of DAML is -1.0"),
        (lambda: toy_model(DAML, Toy(), generator_clip=0), "generator_clip of DAML is 0"),
        (lambda: toy_model(DAML, Toy(), discriminator_clip=INF), "discriminator_clip of DAML is inf"),
        (lambda: toy_model(DAML, Toy(), margin=-1), "margin of DAML is -1"),
        (lambda: toy_model(DAML, Toy(), dim=0), "dim of DAML is 0"),
        (lambda: toy_model(DAML, Toy(), dim=None), "dim of DAML is None"),
        (lambda: toy_model(DAML, Toy(), accumulate=True), "accumulate of DAML is True"),
        (lambda: toy_model(DAML, Toy(), weights={"inter": -1.0}), "weights of DAML is {'inter': -1.0}"),
        (lambda: toy_model(DAML, Toy(), weights={"inter": 1e30}), "weights of DAML is {'inter': 1e+30}"),
        (lambda: toy_model(DAML, Toy(), weights={"inter": NAN}), "weights of DAML is {'inter': nan}"),
        (
            lambda: toy_model(DAML, Toy(), weights=dict.fromkeys((*DAML.terms, "alignment"), 0)),
            "model.weights are all 0",
        ),
        (lambda: toy_model(Triplet, Toy(), margin=2.5), "margin of Triplet is 2.5"),
        (lambda: toy_model(InfoNCE, Toy(), temperature=INF), "temperature of InfoNCE is inf"),
        (lambda: toy_model(InfoNCE, Toy(), temperature=0), "temperature of InfoNCE is 0"),
        (lambda: toy_model(TIRG, ToyComposed(), scale=0), "scale of TIRG is 0"),
        (lambda: CCA(Toy().spec, 0), "components of CCA is 0"),
        (lambda: CCA(Toy().spec, ridge=NAN), "ridge of CCA is nan"),
        (lambda: ModalityClassifier(8, hidden=[0]), "hidden of ModalityClassifier is [0]"),
        (lambda: ModalityClassifier(8, dropout=2), "dropout of ModalityClassifier is 2"),
        (lambda: RotationClassifier(8, angles=1), "angles of RotationClassifier is 1"),
        (lambda: ConcatCritic(8, 8, hidden=-1), "hidden of ConcatCritic is -1"),
        (lambda: DotProductCritic(8, 8, units=0), "units of DotProductCritic is 0"),
        (lambda: FeatureMLP(Toy().spec.image, -1), "dim of FeatureMLP is -1"),
        (lambda: FeatureMLP(Toy().spec.image, 8, [16, 0]), "hidden of FeatureMLP is [16, 0]"),
        (lambda: FeatureMLP(Toy().spec.image, 8, dropout=1.0), "dropout of FeatureMLP is 1.0"),
        (lambda: WordRNN(Shapes(num_train=40).spec.text, 8, hidden=0), "hidden of WordRNN is 0"),
        (lambda: Concatenation(8, nn.Identity(), dropout=-0.1), "dropout of Concatenation is -0.1"),
        (lambda: Toy(batch_size=0), "batch_size of Toy is 0"),
        (lambda: Shapes(eval_batch_size=-1), "eval_batch_size of Shapes is -1"),
        (lambda: Shapes(picture_size=None), "picture_size of Shapes is None"),
        (lambda: Pictures(crop=0), "crop of Pictures is 0"),
        (lambda: Pictures(workers=-1), "workers of Pictures is -1"),
        (lambda: WordTokens(min_count=0), "min_count of WordTokens is 0"),
        (lambda: WordWeights(max_features=0), "max_features of WordWeights is 0"),
        (lambda: Stage("one", epochs=0), "epochs of Stage is 0"),
        (lambda: Stage("one", generator_lr=-1), "generator_lr of Stage is -1"),
        (lambda: Stage("one", weights={"pair": INF}), "weights of Stage is {'pair': inf}"),
        (lambda: AdversarialDiagnostics(0), "every_n_updates of AdversarialDiagnostics is 0"),
        (lambda: WandbWatch(log_freq=0), "log_freq of WandbWatch is 0"),
        (lambda: Shapes(""), "level is ''"),
    ],
)
def test_an_object_is_not_built_of_values_out_of_range(build: Callable[[], object], names: str) -> None:
    with pytest.raises(UserError) as caught:
        build()
    assert names in str(caught.value)
    assert str(caught.value).count("\n") == 0


class Outside(Triplet):
    """A method as someone may write it elsewhere: it passes most arguments on, and repeats one with a plain type."""

    def __init__(self, sharpness: Positive = 1.0, accumulate: int = 1, **kwargs: Any) -> None:
        super().__init__(accumulate=accumulate, **kwargs)
        self.sharpness = sharpness


def test_arguments_that_are_passed_on_keep_their_ranges_and_their_options() -> None:
    for name, value in {"sharpness": 0, "accumulate": 0, "margin": -1, "discriminator_steps": 0, "dim": 0}.items():
        with pytest.raises(UserError, match=f"{name} of Outside is {value}"):
            toy_model(Outside, Toy(), **{name: value})
    parameters = {parameter.name for parameter in get_signature_parameters(Outside)}
    assert {"sharpness", "margin", "mining", "dim", "generator_clip", "accumulate", "weights", "ramp"} <= parameters
    assert "kwargs" not in parameters
    assert "sharpness" in inspect.signature(Outside).parameters


def test_a_checked_object_can_be_copied_and_pickled() -> None:
    pictures = pickle.loads(pickle.dumps(Pictures(crop=8, resize=9)))
    assert (pictures.crop, pictures.resize) == (8, 9)
    assert copy.deepcopy(ModalityClassifier(8, [3])).layers[0].out_features == 3


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (Count, [1, 10**9, 3.0, np.int64(3)], [0, -1, 10**10, 1.5, True, None, "", NAN, INF, [1], "many"]),
        (Seed, [0, 2**32 - 1], [-5, 2**32, False, None]),
        (Positive, [1e-30, 1, 1e6, np.float32(2)], [0, -1, NAN, INF, 1e30, True, None, "", [1]]),
        (Probability, [0, 0.99], [1, 2, -0.1, NAN, False]),
        (Name, ["a"], ["", None, 3, ["a"]]),
    ],
)
def test_bounds(type_: Any, good: list[Any], bad: list[Any]) -> None:
    adapter = TypeAdapter(type_)
    assert [value for value in good if refusal(adapter, value)] == []
    assert [value for value in bad if not str(refusal(adapter, value)).startswith("should ")] == []


# Every class that a config can name -----------------------------------------------------------------------------------


def everything_that_can_be_named() -> Iterator[type]:
    def below(base: type) -> Iterator[type]:
        yield base
        for child in base.__subclasses__():
            yield from below(child)

    of_data = [kind for base in (CrossModalData, ImageInput, TextInput) for kind in below(base)]
    of_models = [
        *METHODS.values(),
        *(vars(cmr_lightning.encoders)[name] for name in cmr_lightning.encoders.__all__),
        *(vars(discriminators)[name] for name in discriminators.__all__),
        *vars(cmr_lightning.game).values(),
        *vars(cmr_lightning.game.alignments).values(),
    ]
    for kind in (*of_data, *of_models):
        ours = isinstance(kind, type) and kind.__module__.partition(".")[0] in ("cmr_lightning", "datamodules")
        if ours and not inspect.isabstract(kind) and not kind.__name__.startswith("_"):
            yield kind


NAMEABLE = sorted(set(everything_that_can_be_named()), key=lambda kind: kind.__name__)
OF_THE_CODE = {"x_dim", "y_dim", "vocabulary", "cells", "features", "source", "spec"}
"""Parameters that code gives to a constructor, never a config."""


def numbers_without_range(hint: Any) -> bool:
    if hasattr(hint, "__metadata__"):
        return False
    return hint in (int, float) or any(numbers_without_range(part) for part in get_args(hint))


def test_every_number_of_every_class_has_a_range() -> None:
    assert len(NAMEABLE) > 50
    bare = [
        f"{kind.__name__}.{parameter.name}"
        for kind in NAMEABLE
        for parameter in get_signature_parameters(kind)
        if parameter.name not in OF_THE_CODE
        and numbers_without_range(parameter.annotation)
        and get_args(parameter.annotation)[:1] != ([int],)  # what makes an encoder of a size
    ]
    assert not bare


def test_every_class_with_a_range_checks_it_in_python_too() -> None:
    ranged = [
        kind for kind in NAMEABLE if any(hasattr(p.annotation, "__metadata__") for p in get_signature_parameters(kind))
    ]
    assert len(ranged) > 40
    assert not [kind.__name__ for kind in ranged if not issubclass(kind, Checked)]


def test_no_module_of_constructors_hides_ranges_from_the_parser() -> None:
    """With annotations that are strings, the parser reads `int` where `Count` is written."""
    names = {name for name, value in vars(ranges).items() if hasattr(value, "__metadata__")}
    for module, path in MODULES.items():
        source = path.read_text()
        if "cmr_lightning.ranges" in imported_by(module) and "__future__" in imported_by(module):
            used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
            assert not used & names, module


# Every leaf of every experiment ---------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (-1, 0, NAN, INF, "", [1], None)
OPTIONAL_INPUTS = ("Flickr8k", "Flickr30k", "MSCOCO", "PascalSentence")
NONE = {
    "compile": "not compiled",
    "generator_clip": "not clipped",
    "discriminator_clip": "not clipped",
    "alignment": "none",
    "WassersteinAdversary.classes": "the critic is told none",
    "shares": "plain weights",
    "caps": "not capped",
    "schedule": "constant rates",
    "DAML.margin": "the unbounded form",
    "neighbours": "all of the batch",
    "Triplet.weights": "the method's own",
    "TIRG.weights": "the method's own",
    "model_args": "none",
    "vectors": "words start at random",
    "captions_per_image": "all",
    **{f"{data}.{key}": "the usual input" for data in OPTIONAL_INPUTS for key in ("image", "text")},
    "positives": "those that the data set asks for",
    "orientation": "that of the data set",
    "label_separator": "one label each",
    "workers": "one per core",
    "max_length": "as long as the longest",
    "max_features": "all words",
    "stop_words": "all words",
    "foreach": "torch decides",
    "fused": "torch decides",
}
ZERO = {
    "dropout": "nothing is dropped",
    "margin": "what is nearer counts, as far as it is",
    "negatives": "the term has no negatives",
    "ridge": "not regularised",
    "ModalityAdversary.r1": "no penalty",
    "InfoMax.level": "the stem",
    "TIRGInfoMax.level": "the stem",
    "PascalSentence.split": "the first",
    "split_seed": "a seed like others",
    "seed": "a seed like others",
    "workers": "threads of this process",
    "weight_decay": "none",
    "momentum": "none",
    "dampening": "none",
    "gamma": "the learning ends with the first step of the schedule",
}
BY_TERM = ("weights", "shares", "caps")
"""Numbers by the names of loss terms, one of which is `alignment`."""
EMPTY = {"Columns.label": "no labels", "Columns.split": "no column of parts"}
LIST = {"FeatureMLP.hidden": "layers", "ModalityClassifier.hidden": "layers", "RotationClassifier.hidden": "layers"}


def meant(kind: str, path: tuple[str, ...], value: Any) -> bool:
    """True for what has a meaning: by key, or by class and key; a weight of 0 takes its term out."""
    if path[-2] in BY_TERM:
        return value == 0 and path[-2] == "weights"
    if isinstance(value, list):
        words: dict[str, str] = LIST
    elif value == 0:
        words = ZERO
    elif value == -1:
        words = {"last_epoch": "torch's `not resumed`"}
    else:
        words = {None: NONE, "": EMPTY}.get(value, {})
    return path[-1] in words or f"{kind.rpartition('.')[2]}.{path[-1]}" in words


def leaves(node: Any, kind: str = "", path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Class and path of every value."""
    if not isinstance(node, dict) or not node:
        yield kind, path
        return
    kind = node.get("class_path", kind)
    for key, value in node.items():
        if key != "class_path":
            yield from leaves(value, kind, (*path, key))


def parser_of_parts() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(EmbeddingModel, "model", skip={"spec"})
    parser.add_subclass_arguments(CrossModalData, "data")
    return parser


Parts = dict[tuple[str, tuple[str, ...]], dict[str, Any]]


def parts_of_experiments(parser: ArgumentParser) -> Parts:
    """For every class and path in all experiments, defaults included, a `model` or `data` that has it."""
    found: Parts = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for file in EXPERIMENTS:
        config = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
        assert isinstance(config, dict)
        for part in ("model", "data"):
            written = set(leaves(config[part]))
            if written <= seen:
                continue
            seen |= written
            whole = parser.parse_object({part: config[part]}).as_dict()[part]
            for kind, path in leaves(whole):
                found.setdefault((kind, path), {part: whole})
    return found


def said(parser: ArgumentParser, part: dict[str, Any], path: tuple[str, ...], value: Any) -> str | None:
    """What is said of a part with another value at a path: by the parser, or by the model that makes its optimizers."""
    part = copy.deepcopy(part)
    (whole,) = part.values()
    node: Any = whole
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    set_parsing_settings(unset_sentinel=True)
    try:
        with errors_for_people():
            parser.parse_object(part)
            build(path[1], whole["init_args"].get(path[1]))
    except UserError as error:
        return str(error)
    finally:
        set_parsing_settings(unset_sentinel=False)
    return None


def build(key: str, settings: Any) -> None:
    """Make what the parser lets torch judge."""
    if isinstance(settings, dict) and (key.endswith("optimizer") or key == "schedule"):
        module, _, name = settings["class_path"].rpartition(".")
        factory = partial(getattr(import_module(module), name), **settings["init_args"])
        if key == "schedule":
            try_out(factory, rate=0.1, steps=20)
        else:
            toy_model(DAML, Toy(), **{key: factory}).configure_optimizers()


def faults(parser: ArgumentParser, parts: Parts, cases: Sequence[tuple[str, tuple[str, ...], Any]]) -> list[str]:
    """Cases that are neither meant nor refused in one sentence that names the key, or optimizer or schedule."""
    found = []
    for kind, path, value in cases:
        sentence = said(parser, parts[kind, path], path, value)
        if not (sentence is None if meant(kind, path, value) else names(sentence, path)):
            found.append(f"{kind} {'.'.join(path)} = {value!r}: {sentence}")
    return found


def names(sentence: str | None, path: tuple[str, ...]) -> bool:
    """One sentence with the key, its dictionary, or the optimizer or schedule that does not take the value."""
    if sentence is None or "\n" in sentence or len(sentence) > 400:
        return False
    judged_by_torch = path[1].endswith("optimizer") or path[1] == "schedule"
    return (
        path[-1] in sentence
        or any(key in path and key in sentence for key in BY_TERM)
        or (judged_by_torch and path[1] in sentence)
    )


def all_cases(parts: Parts) -> list[tuple[str, tuple[str, ...], Any]]:
    return [(kind, path, value) for kind, path in parts for value in VALUES]


def test_every_leaf_of_every_experiment() -> None:
    """A sample; `python -m tests.cmr_lightning.test_ranges` goes through all."""
    parser = parser_of_parts()
    parts = parts_of_experiments(parser)
    cases = all_cases(parts)
    assert len(cases) > 2000
    assert faults(parser, parts, random.Random(1).sample(cases, 150)) == []


if __name__ == "__main__":
    of_all = parser_of_parts()
    their_parts = parts_of_experiments(of_all)
    found = faults(of_all, their_parts, all_cases(their_parts))
    print(*found, f"{len(all_cases(their_parts))} values of {len(their_parts)} settings, {len(found)} faults", sep="\n")
