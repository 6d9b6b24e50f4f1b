"""Random numbers without a state: the same keys give the same number, in any order and in any process."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
UInt64 = NDArray[np.uint64]


def uniform(seed: int, *keys: NDArray[np.integer]) -> Float64:
    """One number in [0, 1) for each combination of keys, which broadcast against each other.

    The keys are mixed one after the other by the finalizer of SplitMix64 (Steele, Lea and Flood, *Fast splittable
    pseudorandom number generators*, OOPSLA 2014).
    """
    state = _mix(np.asarray([seed], np.uint64))
    for key in keys:
        state = _mix(state ^ _mix(np.atleast_1d(key).astype(np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(values: UInt64) -> UInt64:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
