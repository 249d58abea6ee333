"""Differences against loops by hand and SciPy's tests where these apply, and under simulated nulls."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import integrate, stats

from cmr_lightning.reports.difference import Difference, over_splits, paired, typical, unpaired
from cmr_lightning.reports.statistics import LEVEL
from tests.benchmarks.null_simulations import over_queries, over_seeds, satterthwaite, scores

NOISY = Difference(0.0, 5, 5 * 0.7, 4, 300, 0.3)


def test_parts_of_variance_against_loops():
    one, other = scores(np.random.default_rng(0), 2, 4, 0.02, queries=6)
    d = one - other
    mean, by_seed, by_query = d.mean(), d.mean(axis=1), d.mean(axis=0)
    squares = [(d[s, q] - by_seed[s] - by_query[q] + mean) ** 2 for s, q in product(range(4), range(6))]
    query_variance = stats.tvar(by_query) / 6 - sum(squares) / (3 * 5) / (4 * 6)
    assert query_variance > 0, "or its lower limit would be compared"
    found = paired(one, other)
    assert vars(found) == pytest.approx(vars(Difference(mean, 4, stats.tvar(by_seed), 3, 6, query_variance)), rel=1e-9)
    assert paired(other, one) == -found


def test_without_noise_of_queries_it_is_students_or_welchs_test():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(5, 1)) + np.zeros(4), 0.5 + 2 * rng.normal(size=(8, 1)) + np.zeros(4)
    welch = stats.ttest_ind(one[:, 0], other[:, 0], equal_var=False)
    found = unpaired(one, other)
    assert (found.p_value, found.seed_df) == (pytest.approx(welch.pvalue, rel=1e-3), pytest.approx(welch.df))
    interval = welch.confidence_interval()
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-3)
    student = stats.ttest_rel(one[:, 0], other[:5, 0])
    assert paired(one, other[:5]).p_value == pytest.approx(student.pvalue, rel=1e-3)


def test_without_noise_of_seeds_it_is_students_test_over_queries():
    rng = np.random.default_rng(2)
    one, other = (np.tile(rng.normal(size=30), (seeds, 1)) for seeds in (3, 5))
    expected = stats.ttest_rel(one[0], other[0] + 0.5).pvalue
    assert unpaired(one, other + 0.5).p_value == pytest.approx(expected, rel=1e-3)
    assert paired(one, other[:3] + 0.5).p_value == pytest.approx(expected, rel=1e-3)


def test_what_does_not_differ_has_p_1_and_what_always_differs_alike_has_p_0():
    same = np.tile(np.random.default_rng(3).random(7), (5, 1))
    for test, other in ((paired, same), (unpaired, same[:3])):
        assert test(same, other).p_value == 1
        assert test(same, other).interval == pytest.approx((0, 0), abs=1e-12)
    assert paired(np.ones((3, 4)), np.zeros((3, 4))).p_value == 0


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0])
def test_p_value_is_that_of_a_sum_of_two_ts(distance):
    """The distribution of Behrens and Fisher: one t integrated over the density of the other."""
    seed, query = math.sqrt(0.7), math.sqrt(0.3)
    beyond, _ = integrate.quad(
        lambda t: stats.t.pdf(t, 4) * stats.t.sf((distance - seed * t) / query, 299), -np.inf, np.inf, epsabs=1e-12
    )
    found = replace(NOISY, mean=-distance)
    assert found.p_value == pytest.approx(2 * beyond, rel=1e-3)
    low, high = found.interval
    assert replace(found, mean=low + distance).p_value == pytest.approx(LEVEL)
    assert replace(found, mean=high + distance).p_value == pytest.approx(LEVEL)


def test_splits_share_items():
    differences = np.array([0.1, 0.3, 0.2])
    found = over_splits(differences, 100, overlap=0.125)
    half = stats.t.isf(0.025, 2) * 0.1 * math.sqrt(1 / 3 + 0.125)
    assert found.interval == pytest.approx((0.2 - half, 0.2 + half), rel=1e-3)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.2 / (0.1 * math.sqrt(1 / 3 + 0.125)), 2), rel=1e-3)


@pytest.mark.parametrize("own_splits", [False, True])
def test_equal_methods_differ_in_5_percent(own_splits):
    """Five seeds of deviation .014: a test over the same queries alone, or of unlike splits as unpaired, does not."""
    trials, rng = 400, np.random.default_rng(3)
    drawn = [scores(rng, 2, 5, 0.014, own_splits) for _ in range(trials)]
    if own_splits:
        tests = [lambda a, b: over_splits((a - b).mean(axis=1), 300, 0.0).p_value]
        wrong, expected = lambda a, b: over_queries(a.reshape(1, -1), b.reshape(1, -1)), 0.36
    else:
        tests = [lambda a, b: paired(a, b).p_value, lambda a, b: unpaired(a, b).p_value]
        wrong, expected = over_queries, 0.26
    for test in tests:
        rejected = sum(test(*pair) <= LEVEL for pair in drawn)
        assert stats.binomtest(rejected, trials, LEVEL).pvalue > 0.01, f"{rejected / trials:.3f} rejected"
    assert np.mean([wrong(*pair) <= LEVEL for pair in drawn]) == pytest.approx(expected, abs=0.08)


def test_the_level_is_kept_where_holms_correction_makes_it_small():
    """At .005, nine tenths of the variance from five seeds; the t of Satterthwaite rejects more than twice as often."""
    trials, level, rng = 4000, 0.005, np.random.default_rng(6)
    seed_variances, errors = 0.9 * 5 * rng.chisquare(4, trials) / 4, rng.normal(size=trials)
    possible = np.abs(errors) > stats.norm.isf(level / 2) * np.sqrt(seed_variances / 5 + 0.1)  # p is above the normal's
    drawn = zip(errors[possible].tolist(), seed_variances[possible].tolist(), strict=True)
    found = [Difference(error, 5, variance, 4, 300, 0.1) for error, variance in drawn]
    rejected = sum(difference.p_value <= level for difference in found)
    assert stats.binomtest(rejected, trials, level, "greater").pvalue > 0.01, f"{rejected / trials:.4f} rejected"
    assert sum(satterthwaite(difference) <= level for difference in found) > 2 * level * trials


def test_a_test_over_seeds_alone_is_no_remedy():
    """With ten seeds that hardly differ, the noise of queries is most of all, and it does not see it."""
    trials, rng = 300, np.random.default_rng(4)
    drawn = [scores(rng, 2, 10, 0.003) for _ in range(trials)]
    rejected = sum(paired(*pair).p_value <= LEVEL for pair in drawn)
    assert stats.binomtest(rejected, trials, LEVEL).pvalue > 0.01, f"{rejected / trials:.3f} rejected"
    assert np.mean([over_seeds(*pair) <= LEVEL for pair in drawn]) > 0.1


def test_a_planted_difference_is_found_as_often_as_computed():
    """.02 at a seed deviation of .01, five seeds: in 45 % if paired, of independent seeds in 52 %."""
    trials, rng = 400, np.random.default_rng(5)
    drawn = [scores(rng, 2, 5, 0.01) for _ in range(trials)]
    noise = Difference(0.0, 5, 2 * (0.01**2 + 0.12**2 / 300), 4, 300, 2 * 0.05**2 / 300)
    for test in (paired, unpaired):
        found = [test(one + 0.02, other) for one, other in drawn]
        computed = replace(noise, seed_df=float(np.median([difference.seed_df for difference in found]))).power(0.02)
        share = np.mean([difference.p_value <= LEVEL for difference in found])
        print(f"{test.__name__}: found {share:.3f}, computed {computed:.3f}")
        assert share == pytest.approx(computed, abs=4 * math.sqrt(0.25 / trials))
        assert 0.4 < computed < 0.6


def test_power_is_the_noncentral_t_where_queries_add_nothing():
    noise = replace(NOISY, query_variance=0.0)
    for true, level in ((0.0, 0.05), (2.0, 0.05), (3.0, 0.001)):
        shift, needed = true / math.sqrt(0.7), stats.t.isf(level / 2, 4)
        expected = stats.nct.sf(needed, 4, shift) + stats.nct.cdf(-needed, 4, shift)
        assert noise.power(true, level) == pytest.approx(expected, abs=0.005)
    assert noise.power(noise.detectable()) == pytest.approx(0.8)
    assert NOISY.power(NOISY.detectable(0.001, 0.9), 0.001) == pytest.approx(0.9)


def test_more_seeds_find_smaller_differences_down_to_the_noise_of_queries():
    found = [NOISY.with_seeds(seeds).detectable() for seeds in (3, 5, 10, 20, 10**6)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx((stats.t.isf(0.025, 299) + stats.norm.isf(0.2)) * math.sqrt(0.3), rel=1e-3)
    assert NOISY.with_seeds(20).with_seeds(5) == NOISY


def test_typical_difference_has_the_medians_for_the_most_common_number_of_seeds():
    of_three = replace(NOISY.with_seeds(3), seed_variance=1.0, query_variance=0.1)
    found = typical([NOISY, replace(NOISY, mean=9.0, seed_variance=9.0, query_variance=0.2), of_three])
    assert found == replace(NOISY, seed_variance=3.5, query_variance=0.2)
    assert typical([replace(NOISY, seed_variance=0.0, query_variance=0.0)]) is None
