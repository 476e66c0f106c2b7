"""PSI and KS beside scipy's, and their limits of chance."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_components.drift.measure import (
    count,
    edges_for,
    ks,
    ks_by_chance,
    psi,
    psi_by_chance,
)

floats = st.floats(-1e6, 1e6, width=32)
samples = st.integers(1, 200).flatmap(lambda size: arrays(np.float64, size, elements=floats))
histograms = st.integers(2, 30).flatmap(
    lambda bins: st.tuples(
        *(arrays(np.int64, bins, elements=st.integers(0, 1000)) for _ in range(2))
    ).filter(lambda pair: pair[0].sum() > 0 and pair[1].sum() > 0)
)


@given(histograms)
def test_psi_is_the_sum_of_both_kullback_leibler_divergences(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    p, q = (counts + 0.5 for counts in pair)
    wanted = scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p)
    assert psi(*pair) == pytest.approx(wanted, abs=1e-9)
    assert psi(*pair) == pytest.approx(psi(pair[1], pair[0]))
    assert psi(pair[0], pair[0]) == 0.0


@given(histograms)
def test_ks_is_scipys_for_values_that_are_their_bins(pair: tuple[np.ndarray, np.ndarray]) -> None:
    bins = np.arange(pair[0].size)
    wanted = scipy.stats.ks_2samp(np.repeat(bins, pair[0]), np.repeat(bins, pair[1])).statistic
    assert ks(*pair) == pytest.approx(wanted, abs=1e-12)


@given(samples, st.integers(2, 10))
def test_every_value_of_the_reference_is_counted_inside_its_edges(
    values: np.ndarray, bins: int
) -> None:
    edges = edges_for(values, bins)
    counts = count(values, edges)
    assert np.all(np.diff(edges) > 0)
    assert counts.sum() == values.size
    assert counts[0] == counts[-1] == counts[-2] == 0


@given(samples, samples)
def test_counting_agrees_with_numpys_histogram(reference: np.ndarray, values: np.ndarray) -> None:
    edges = edges_for(reference, 10)
    # numpy's bins are closed below, ours above: mirrored they are the same.
    mirrored = np.concatenate(([-np.inf], -edges[::-1], [np.inf]))
    wanted = np.histogram(-values, bins=mirrored)[0][::-1]
    assert list(count(values, edges)[:-1]) == list(wanted)


def test_what_is_not_a_number_has_a_bin_and_infinity_is_outside() -> None:
    counts = count(np.array([np.nan, np.inf, -np.inf, 1.5]), edges_for(np.array([1.0, 2.0]), 2))
    assert counts[-1] == 1
    assert counts[-2] == 1
    assert counts[0] == 1


def test_a_constant_that_falls_is_seen_as_well_as_one_that_rises() -> None:
    edges = edges_for(np.full(50, 3.0), 10)
    expected = count(np.full(50, 3.0), edges)
    for value in (2.9, 3.1):
        assert psi(expected, count(np.full(50, value), edges)) > 1


@pytest.mark.parametrize("degrees", [1, 4, 11, 20])
def test_the_limit_of_chance_is_chi_squareds_quantile(degrees: int) -> None:
    wanted = scipy.stats.chi2.ppf(0.999, degrees) * (1 / 50 + 1 / 1000)
    assert psi_by_chance(degrees + 1, 50, 1000) == pytest.approx(wanted, rel=0.06)


def test_the_limit_of_ks_is_kolmogorovs() -> None:
    wanted = scipy.stats.kstwobign.ppf(0.999) * np.sqrt(1 / 50 + 1 / 1000)
    assert ks_by_chance(50, 1000) == pytest.approx(wanted, rel=0.01)
