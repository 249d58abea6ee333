"""The parameters of a W&B sweep: the meaning of its distributions, and how Optuna draws from them."""

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from cmr_lightning.errors import UserError
from cmr_lightning.runs.settings import as_option

Settings = Mapping[str, Any]

_TAIL = 1e-4  # probability of each tail that is left out of a distribution without bounds


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    Attributes:
        key: Dotted name of the option that it sets.
        drawn: What Optuna draws from; None for a constant.
        value: The option's value for what was drawn.
        place: What would be drawn for a value of the option; raises ValueError where nothing would.
        grid: Everything that a grid search draws; None where that is no finite list.
    """

    key: str
    drawn: BaseDistribution | None
    value: Callable[[Any], Any]
    place: Callable[[Any], Any]
    grid: tuple[Any, ...] | None = None


def read_parameters(parameters: Mapping[str, Any], prefix: str = "") -> list[Parameter]:
    """Read the part `parameters` of a sweep file; nested ones are called by their dotted names.

    Examples:
        >>> (parameter,) = read_parameters({"model": {"parameters": {"dim": {"values": [8, 16]}}}})
        >>> parameter.key, [parameter.value(word) for word in parameter.grid]
        ('model.dim', [8, 16])

    Raises:
        UserError: If a distribution is unknown, lacks a setting or has one that it does not know.
    """
    found = []
    for name, settings in parameters.items():
        key = f"{prefix}{name}"
        if not isinstance(settings, Mapping):
            raise UserError(f"parameters.{key} must say `value`, `values`, `min` and `max` or `distribution`.")
        if "parameters" in settings:
            found += read_parameters(settings["parameters"], f"{key}.")
        else:
            found.append(_read(key, settings))
    return found


def _read(key: str, settings: Settings) -> Parameter:
    name = settings.get("distribution") or _implied(settings)
    if name not in _DISTRIBUTIONS:
        raise UserError(
            f"parameters.{key} has the distribution {name!r}; those that are understood are "
            f"{', '.join(sorted(_DISTRIBUTIONS))}."
        )
    needed, optional, make = _DISTRIBUTIONS[name]
    missing = [setting for setting in needed if setting not in settings]
    unknown = [setting for setting in settings if setting not in (*needed, *optional, "distribution")]
    if missing or unknown:
        raise UserError(
            f"parameters.{key} is {name}, which has the settings {', '.join((*needed, *optional))}: "
            + "; ".join([f"{setting} is missing" for setting in missing] + [f"{s} is not one" for s in unknown])
            + "."
        )
    for setting in ("min", "max", "mu", "sigma", "a", "b", "q"):
        value = settings.get(setting, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            hint = "; YAML takes 1e-5 for text, write 1.0e-5" if isinstance(value, str) else ""
            raise UserError(f"parameters.{key}.{setting} must be a number, and is {value!r}{hint}.")
    try:
        return make(key, settings)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise UserError(f"parameters.{key} is {name}, but cannot be drawn: {error}.") from error


def _implied(settings: Settings) -> str:
    """Choose the distribution that W&B takes where none is named."""
    if "value" in settings:
        return "constant"
    if "values" in settings:
        return "categorical_w_probabilities" if "probabilities" in settings else "categorical"
    whole = all(isinstance(settings.get(bound), int) for bound in ("min", "max"))
    return "int_uniform" if whole else "uniform"


# Distributions -------------------------------------------------------------------------------------------------------


def _constant(key: str, settings: Settings) -> Parameter:
    return Parameter(key, None, lambda _: settings["value"], lambda _: None)


def _categorical(key: str, settings: Settings) -> Parameter:
    values = {as_option(value): value for value in settings["values"]}
    drawn = CategoricalDistribution(tuple(values))
    return Parameter(key, drawn, values.__getitem__, lambda value: _member(value, list(values)), tuple(values))


def _weighted(key: str, settings: Settings) -> Parameter:
    values, shares = settings["values"], list(accumulate(settings["probabilities"]))
    if len(values) != len(shares) or not math.isclose(shares[-1], 1):
        raise ValueError("its probabilities must be one for each value, with a sum of 1")
    words = [as_option(value) for value in values]

    def place(value: Any) -> float:
        index = words.index(_member(value, words))
        return shares[index] - settings["probabilities"][index] / 2

    def value(share: float) -> Any:
        return values[min(bisect.bisect_left(shares, share), len(values) - 1)]

    return Parameter(key, FloatDistribution(0, 1), value, place)


def _int_uniform(key: str, settings: Settings) -> Parameter:
    low, high = settings["min"], settings["max"]
    drawn = IntDistribution(low, high)
    return Parameter(key, drawn, lambda x: x, lambda value: _inside(value, drawn), tuple(range(low, high + 1)))


def _between(bounds: Callable[[Settings], tuple[float, float]], log: bool) -> Any:
    def make(key: str, settings: Settings) -> Parameter:
        drawn = FloatDistribution(*bounds(settings), log=log)
        return Parameter(key, drawn, lambda x: x, lambda value: _inside(value, drawn))

    return make


def _by_quantile(distribution: Callable[[Settings], Any]) -> Any:
    """Let Optuna draw the quantile of a distribution that it does not have."""

    def make(key: str, settings: Settings) -> Parameter:
        frozen = distribution(settings)
        drawn = FloatDistribution(_TAIL, 1 - _TAIL)
        return Parameter(
            key, drawn, lambda x: float(frozen.ppf(x)), lambda value: _inside(float(frozen.cdf(value)), drawn)
        )

    return make


def _rounded(make: Callable[[str, Settings], Parameter]) -> Any:
    """Round X to round(X / q) q, for X of a distribution; the values are whole numbers if q is one."""

    def make_rounded(key: str, settings: Settings) -> Parameter:
        q = settings.get("q", 1)
        of = make(key, settings)

        def value(x: float) -> float:
            nearest = round(of.value(x) / q) * q
            return nearest if isinstance(q, int) else float(f"{nearest:.12g}")

        def place(wanted: Any) -> Any:
            x = of.place(wanted)
            if not math.isclose(value(x), wanted):
                raise ValueError(f"{wanted} is no multiple of {q}")
            return x

        return Parameter(key, of.drawn, value, place)

    return make_rounded


def _q_uniform(key: str, settings: Settings) -> Parameter:
    of = _rounded(_DISTRIBUTIONS["uniform"][2])(key, settings)
    q, low, high = settings.get("q", 1), settings["min"], settings["max"]
    multiples = range(math.ceil(low / q - 1e-9), math.floor(high / q + 1e-9) + 1)
    return Parameter(key, of.drawn, of.value, of.place, tuple(float(f"{m * q:.12g}") for m in multiples))


def _member(value: Any, words: list[str]) -> str:
    if (word := as_option(value)) not in words:
        raise ValueError(f"{word} is none of {', '.join(words)}")
    return word


def _inside(value: Any, drawn: FloatDistribution | IntDistribution) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not drawn.low <= value <= drawn.high:
        raise ValueError(f"{value} is not between {drawn.low:g} and {drawn.high:g}")
    return value


_BOUNDS = ("min", "max")
_MOMENTS = ("mu", "sigma")


def _as_given(settings: Settings) -> tuple[float, float]:
    return settings["min"], settings["max"]


_CONTINUOUS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Any]] = {
    "uniform": (_BOUNDS, (), _between(_as_given, log=False)),
    "log_uniform": (_BOUNDS, (), _between(lambda s: (math.exp(s["min"]), math.exp(s["max"])), log=True)),
    "log_uniform_values": (_BOUNDS, (), _between(_as_given, log=True)),
    "inv_log_uniform": (_BOUNDS, (), _between(lambda s: (math.exp(-s["max"]), math.exp(-s["min"])), log=True)),
    "inv_log_uniform_values": (_BOUNDS, (), _between(_as_given, log=True)),
    "normal": ((), _MOMENTS, _by_quantile(lambda s: stats.norm(s.get("mu", 0), s.get("sigma", 1)))),
    "log_normal": (
        (),
        _MOMENTS,
        _by_quantile(lambda s: stats.lognorm(s.get("sigma", 1), scale=math.exp(s.get("mu", 0)))),
    ),
    "beta": (("a", "b"), (), _by_quantile(lambda s: stats.beta(s["a"], s["b"]))),
}

_DISTRIBUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[str, Settings], Parameter]]] = {
    "constant": (("value",), (), _constant),
    "categorical": (("values",), (), _categorical),
    "categorical_w_probabilities": (("values", "probabilities"), (), _weighted),
    "int_uniform": (_BOUNDS, (), _int_uniform),
    **_CONTINUOUS,
    **{
        f"q_{name}": (needed, (*optional, "q"), _rounded(make))
        for name, (needed, optional, make) in _CONTINUOUS.items()
        if not name.startswith("inv_")
    },
    "q_uniform": (_BOUNDS, ("q",), _q_uniform),
}
"""W&B's distributions: settings that must and may be given, and how a parameter is made of them."""
