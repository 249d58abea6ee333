"""Every distribution of W&B against scipy's, against W&B's own converter, and refused by name where it is wrong."""

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from scipy import stats

from cmr_lightning.errors import UserError
from cmr_lightning.sweep.parameters import Parameter, read_parameters

optuna.logging.set_verbosity(optuna.logging.WARNING)
DRAWS = 400


def parameter(**settings: Any) -> Parameter:
    (found,) = read_parameters({"model.x": settings})
    return found


def draws(of: Parameter) -> list[Any]:
    """What a random search sets."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    assert of.drawn is not None
    return [of.value(study.ask({"x": of.drawn}).params["x"]) for _ in range(DRAWS)]


CONTINUOUS = {
    "uniform": ({"min": -2, "max": 3}, stats.uniform(-2, 5)),
    "log_uniform": ({"min": -5, "max": 2}, stats.loguniform(math.exp(-5), math.exp(2))),
    "log_uniform_values": ({"min": 1e-3, "max": 10}, stats.loguniform(1e-3, 10)),
    "inv_log_uniform": ({"min": -2, "max": 5}, stats.loguniform(math.exp(-5), math.exp(2))),
    "inv_log_uniform_values": ({"min": 1e-3, "max": 10}, stats.loguniform(1e-3, 10)),
    "normal": ({"mu": 2, "sigma": 3}, stats.norm(2, 3)),
    "log_normal": ({"mu": 1, "sigma": 0.5}, stats.lognorm(0.5, scale=math.e)),
    "beta": ({"a": 2, "b": 5}, stats.beta(2, 5)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions_are_drawn_from(name: str) -> None:
    settings, expected = CONTINUOUS[name]
    found = draws(parameter(distribution=name, **settings))
    assert stats.kstest(found, expected.cdf).pvalue > 0.01


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if not name.startswith("inv_")])
def test_q_rounds_to_multiples(name: str) -> None:
    settings, expected = CONTINUOUS[name]
    found = np.array(draws(parameter(distribution=f"q_{name}", q=0.25, **settings)))
    assert np.array_equal(found * 4, np.round(found * 4))
    steps = np.unique(found)
    share = expected.cdf(steps + 0.125) - expected.cdf(steps - 0.125)
    assert np.allclose([(found == step).mean() for step in steps], share, atol=0.08)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_value_is_placed_where_it_is_drawn_from(name: str) -> None:
    of = parameter(distribution=name, **CONTINUOUS[name][0])
    assert of.value(of.place(0.5)) == pytest.approx(0.5)


def test_whole_q_gives_whole_numbers() -> None:
    found = draws(parameter(distribution="q_uniform", min=8, max=64, q=8))
    assert {type(value) for value in found} == {int}
    assert set(found) == {8, 16, 24, 32, 40, 48, 56, 64}


def test_rounding_leaves_no_crumbs() -> None:
    of = parameter(distribution="q_uniform", min=0.0, max=1.0, q=0.1)
    assert str(of.value(0.3000001)) == "0.3"
    assert of.grid == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def test_lists_keep_their_values_whatever_these_are() -> None:
    values = [0.1, 1, "sum", None, True, [64, 32], {"class_path": "SGD"}]
    of = parameter(values=values)
    assert of.grid is not None
    assert [of.value(word) for word in of.grid] == values
    assert {repr(value) for value in draws(of)} == {repr(value) for value in values}
    assert of.value(of.place([64, 32])) == [64, 32]


def test_probabilities_are_kept() -> None:
    found = draws(parameter(values=["a", "b", "c"], probabilities=[0.7, 0.0, 0.3]))
    assert "b" not in found
    assert found.count("a") / DRAWS == pytest.approx(0.7, abs=0.07)
    of = parameter(values=["a", "b"], probabilities=[0.7, 0.3])
    assert [of.value(of.place(value)) for value in "ab"] == ["a", "b"]


def test_what_is_not_named_is_implied_as_by_wandb() -> None:
    assert set(draws(parameter(min=1, max=3))) == {1, 2, 3}
    assert isinstance(draws(parameter(min=1.0, max=3))[0], float)
    constant = parameter(value=[1, 2])
    assert constant.drawn is None
    assert constant.value(None) == [1, 2]


def test_nested_parameters_have_dotted_names() -> None:
    weights = {"parameters": {"kl": {"min": 0.0, "max": 1.0}}}
    nested = {"model": {"parameters": {"weights": weights, "dim": {"value": 3}}}}
    assert [of.key for of in read_parameters(nested)] == ["model.weights.kl", "model.dim"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"distribution": "cauchy", "min": 0, "max": 1}, "has the distribution 'cauchy'"),
        ({"distribution": "uniform", "min": 0.0}, "max is missing"),
        ({"min": 0.0, "max": 1.0, "mu": 3}, "mu is not one"),
        ({"vlaues": [1]}, "vlaues is not one"),
        ({"min": "1e-5", "max": 1.0}, "YAML takes 1e-5 for text"),
        ({"min": True, "max": 1.0}, "must be a number"),
        ({"min": 2.0, "max": 1.0}, "cannot be drawn"),
        ({"distribution": "log_uniform", "min": 1, "max": 1000}, "cannot be drawn"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2.5}, "cannot be drawn"),
        ({"distribution": "q_uniform", "min": 0, "max": 9, "q": 0}, "cannot be drawn"),
        ({"values": []}, "cannot be drawn"),
        ({"distribution": "log_uniform_values", "min": 0.0, "max": 1.0}, "cannot be drawn"),
        ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum of 1"),
        ({"distribution": "beta", "a": 1}, "b is missing"),
    ],
)
def test_what_is_wrong_is_said_with_the_parameter(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"parameters\.model\.x.*{said}"):
        parameter(**settings)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"values": [1, 2]}, 3),
        ({"min": 0.5, "max": 1.0}, 0.0),
        ({"min": 0.5, "max": 1.0}, None),
        ({"distribution": "q_uniform", "min": 0, "max": 9, "q": 3}, 4),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]}, 3),
    ],
)
def test_what_cannot_be_drawn_has_no_place(settings: dict[str, Any], value: Any) -> None:
    with pytest.raises(ValueError, match=str(value)):
        parameter(**settings).place(value)


@pytest.mark.parametrize(
    "settings",
    [
        {"distribution": "int_uniform", "min": 1, "max": 9},
        {"distribution": "uniform", "min": 0.0, "max": 2.0},
        {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
    ],
)
def test_agrees_with_the_converter_of_wandb(settings: dict[str, Any]) -> None:
    converter = pytest.importorskip("wandb.sdk.sweeps.scheduler.optuna", reason="this wandb has no converter")
    theirs = converter.search_space_from_sweep_config({"x": settings})["x"]
    assert parameter(**settings).drawn == theirs
