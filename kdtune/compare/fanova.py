"""fANOVA's main effects by a random forest (Hutter, Hoos and Leyton-Brown, 2014).

Optuna's ``FanovaImportanceEvaluator`` gives the same numbers, up to rounding, from the same forest;
it walks down the trees for each value of each axis, where here all leaves are weighed at once. With
the hundreds of forests that the importances need that is the difference between seconds and a
minute.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeRegressor

MOST_DEPTH = 64
"""Of a tree, as in Optuna."""


def main_effects(
    axes: Sequence[np.ndarray], values: np.ndarray, *, trees: int, seed: int
) -> list[float]:
    """The part of the variance of ``values`` that each axis explains alone, in [0, 1].

    Args:
        axes: Each ``(N, k)``: one column in [0, 1] for numbers, one for each choice else, with a 1
            where it was chosen.
        values: ``(N,)``, the results.
        trees: How many the forest has.
        seed: Of the forest.

    Raises:
        ValueError: If the values of each tree are all the same.
    """
    ends = list(itertools.accumulate(axis.shape[1] for axis in axes))
    blocks = [range(end - axis.shape[1], end) for axis, end in zip(axes, ends, strict=True)]
    found = []
    for tree in _forest(np.hstack(axes), values, trees=trees, seed=seed):
        leaves = _leaves(tree)
        whole = _variance(leaves.values, (leaves.upper - leaves.lower).prod(axis=1))
        if whole > 0:
            found.append([_explained(leaves, block) / whole for block in blocks])
    if not found:
        raise ValueError("the values that a forest is to explain must differ")
    return [float(share) for share in np.mean(found, axis=0)]


class _Leaves(NamedTuple):
    """The leaves of a tree: what each says, ``(L,)``, and its box, ``(L, F)`` within [0, 1]."""

    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def _forest(
    columns: np.ndarray, values: np.ndarray, *, trees: int, seed: int
) -> Iterator["DecisionTreeRegressor"]:
    """The trees of scikit-learn's ``RandomForestRegressor``, without what it does beside them."""
    from sklearn import config_context
    from sklearn.tree import DecisionTreeRegressor

    given, n = np.ascontiguousarray(columns, dtype=np.float32), len(values)
    draws = np.random.RandomState(seed)
    with config_context(skip_parameter_validation=True, assume_finite=True):
        for own in draws.randint(np.iinfo(np.int32).max, size=trees):
            rows = np.random.RandomState(own).randint(0, n, n, dtype=np.int32)
            drawn = np.bincount(rows, minlength=n).astype(float)
            tree = DecisionTreeRegressor(max_depth=MOST_DEPTH, random_state=int(own))
            yield tree.fit(given, values, sample_weight=drawn, check_input=False)


def _leaves(fitted: "DecisionTreeRegressor") -> _Leaves:
    tree = fitted.tree_
    lower = np.zeros((tree.node_count, tree.n_features))
    upper = np.ones_like(lower)
    splits = zip(tree.feature, tree.threshold, tree.children_left, tree.children_right, strict=True)
    for node, (feature, threshold, left, right) in enumerate(splits):
        if feature >= 0:  # Children come after their parents.
            for child, bound in ((left, upper), (right, lower)):
                lower[child], upper[child] = lower[node], upper[node]
                bound[child, feature] = threshold
    ends = tree.feature < 0
    return _Leaves(tree.value[ends, 0, 0], lower[ends], upper[ends])


def _explained(leaves: _Leaves, block: range) -> float:
    """The variance of the tree's mean as a function of the columns ``block`` alone."""
    split = [column for column in block if (leaves.upper[:, column] < 1).any()]
    if not split:
        return 0.0
    inside, sizes = np.ones((len(leaves.values), 1), dtype=bool), np.ones(1)
    for column in split:
        lower, upper = leaves.lower[:, column], leaves.upper[:, column]
        cuts = np.array(sorted({*lower, *upper}))
        middles = (cuts[1:] + cuts[:-1]) / 2
        here = (lower[:, None] < middles) & (middles <= upper[:, None])
        inside = (inside[:, :, None] & here[:, None, :]).reshape(len(lower), -1)
        sizes = (sizes[:, None] * (cuts[1:] - cuts[:-1])).ravel()
    room = np.delete(leaves.upper - leaves.lower, split, axis=1).prod(axis=1)
    weights = room @ inside
    return _variance((room * leaves.values) @ inside / weights, weights * sizes)


def _variance(values: np.ndarray, weights: np.ndarray) -> float:
    shares = weights / weights.sum()
    return float(shares @ (values - shares @ values) ** 2)
