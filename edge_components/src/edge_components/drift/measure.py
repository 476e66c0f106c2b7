"""How far two histograms are apart, and how far chance alone puts them.

PSI is the population stability index, the symmetric Kullback-Leibler divergence of the two shares
with half a count added to each bin; KS is the Kolmogorov-Smirnov distance at the bins' edges. A
golden set is small, and PSI of two samples of the same distribution is about
``(1/n + 1/m) * chi-squared(bins - 1)`` (Yurdakul, 2018), so a threshold is never below what one
window in a thousand would reach by chance.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_SMOOTHING = 0.5
_Z = 3.0902  # of the normal distribution at one in a thousand
_KS_C = 1.9495  # sqrt(-ln(0.001 / 2) / 2), Smirnov's limit
_MARGIN = 1e-3


def edges_for(values: Values, bins: int) -> Values:
    """Return ascending edges: quantiles of the finite values, closed a little outside of them.

    With ``k`` edges there are ``k + 2`` bins: below, between the edges, above, and not a number.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(1)
    low, high = float(finite.min()), float(finite.max())
    margin = _MARGIN * max(high - low, abs(low), abs(high)) or _MARGIN
    inner: Values = np.quantile(finite, np.linspace(0.0, 1.0, bins + 1)[1:-1])
    return np.unique(np.concatenate(([low - margin], inner, [high + margin])))


def count(values: Values, edges: Values) -> Counts:
    """Return how many values fall into each bin of ``edges``."""
    known = ~np.isnan(values)
    bins = np.searchsorted(edges, values[known], side="left")
    counts = np.bincount(bins, minlength=edges.size + 2).astype(np.int64)
    counts[-1] = values.size - int(known.sum())
    return counts


def psi(expected: Counts, observed: Counts) -> float:
    """Return the population stability index of two histograms with the same bins."""
    p, q = _shares(expected), _shares(observed)
    return float(np.sum((q - p) * np.log(q / p)))


def ks(expected: Counts, observed: Counts) -> float:
    """Return the largest distance of the two cumulated shares, 0 to 1."""
    p = np.cumsum(expected) / max(1, int(expected.sum()))
    q = np.cumsum(observed) / max(1, int(observed.sum()))
    return float(np.max(np.abs(p - q)))


def psi_by_chance(bins: int, expected: int, observed: int) -> float:
    """Return the PSI that one window in a thousand reaches without any drift."""
    degrees = max(1, bins - 1)
    spread = 2.0 / (9.0 * degrees)  # Wilson and Hilferty's approximation of chi-squared
    chi_squared = degrees * (1.0 - spread + _Z * math.sqrt(spread)) ** 3
    return chi_squared * (1.0 / max(1, expected) + 1.0 / max(1, observed))


def ks_by_chance(expected: int, observed: int) -> float:
    """Return the KS distance that one window in a thousand reaches without any drift."""
    return min(1.0, _KS_C * math.sqrt(1.0 / max(1, expected) + 1.0 / max(1, observed)))


def _shares(counts: Counts) -> Values:
    smooth = counts + _SMOOTHING
    shares: Values = smooth / smooth.sum()
    return shares
