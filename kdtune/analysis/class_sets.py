"""Which classes are alike: by a hierarchy of their names, or by their centroids' distances.

Chandrasegaran et al., 2022 (arXiv:2206.14532), appendix G, which calls the two methods 1 and 2.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtune.registry import nearest

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

BUILT_IN = ("cifar100",)
"""Hierarchies that come along: each a JSON file beside this one."""

MISSPELT = {"cra": "crab"}
"""Names of classes in widely used copies of a dataset: what they stand for."""

FEW = 30
"""Classes that an error message lists; of more, only those of similar names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassSets:
    """For each class as the target, which others are like it and which are not.

    Attributes:
        similar: ``(C, C)``, by target in rows; no class is in its own sets.
        dissimilar: ``(C, C)``, nowhere true where ``similar`` is.
    """

    similar: Flags
    dissimilar: Flags


def class_index(word: str, class_names: Sequence[str]) -> int:
    """Position of the class that is called ``word``, or else has it as its number.

    Capitals do not matter, nor whether words are joined by a blank, ``-`` or ``_``.

    Raises:
        ValueError: If there is none, or several have that name.
    """
    plain = [_plain(name) for name in class_names]
    found = [place for place, name in enumerate(plain) if name == _plain(word)]
    if not found and word.strip().isdecimal() and int(word) < len(class_names):
        return int(word)
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} classes are called '{word}'; give the number, one of {found}"
        )
    if not found:
        alike = difflib.get_close_matches(word, class_names, n=10, cutoff=0)
        shown = class_names if len(class_names) <= FEW else alike
        raise ValueError(
            f"unknown class '{word}' of {len(class_names)}, by name or by number from 0"
            f"{nearest(word, shown)}"
        )
    return found[0]


def class_indices(words: str, class_names: Sequence[str]) -> list[int]:
    """Positions of comma-separated names or numbers, in the order given; all for an empty text.

    Raises:
        ValueError: As :func:`class_index`, or if a class is given twice.
    """
    if not words:
        return list(range(len(class_names)))
    places = [class_index(word.strip(), class_names) for word in words.split(",")]
    if len(set(places)) < len(places):
        raise ValueError(f"each class may be given once, got '{words}'")
    return places


def hierarchy_text(choice: str) -> str:
    """A hierarchy as text that says all of it, whatever becomes of the file it is from.

    Args:
        choice: Empty for none, the name of a built-in one, the path of a JSON file
            ``{superclass: [class, ...]}``, or such JSON.

    Returns:
        Empty, the name of a built-in one, or JSON in a canonical form; unchanged if given again.

    Raises:
        ValueError: If there is no such file, or it holds something else.
    """
    if choice == "" or choice in BUILT_IN:
        return choice
    given = choice.lstrip().startswith("{")
    if not given and not Path(choice).is_file():
        raise ValueError(
            f"hierarchy must be one of {', '.join(BUILT_IN)} or the path of a JSON file, "
            f"got '{choice}', which is no file"
        )
    try:
        found = json.loads(choice if given else Path(choice).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"hierarchy '{choice[:80]}' is not JSON: {error}") from error
    if not _is_hierarchy(found):
        raise ValueError(
            'hierarchy must be JSON like {"trees": ["oak", "pine"], "fish": ["ray", "trout"]}, '
            f"got {json.dumps(found)[:80]}"
        )
    return json.dumps(found, sort_keys=True)


def superclasses(text: str, class_names: Sequence[str]) -> NDArray[np.int64]:
    """The number of each class's superclass; -1 for a class that the hierarchy leaves out.

    Args:
        text: Of :func:`hierarchy_text`, not empty.
        class_names: One per class.

    Returns:
        ``(C,)``.

    Raises:
        ValueError: If the hierarchy names a class that there is not, or one twice.
    """
    built_in = Path(__file__).with_name(f"{text}.json") if text in BUILT_IN else None
    found: Mapping[str, Sequence[str]] = json.loads(built_in.read_text() if built_in else text)
    groups = np.full(len(class_names), -1, dtype=np.int64)
    for number, (superclass, members) in enumerate(found.items()):
        for member in members:
            place = class_index(member, class_names)
            if groups[place] >= 0:
                raise ValueError(
                    f"a class has one superclass, but the hierarchy names '{member}' again, "
                    f"in '{superclass}'"
                )
            groups[place] = number
    return groups


def sets_of_superclasses(groups: NDArray[np.int64]) -> ClassSets:
    """Similar are the others of the same superclass; dissimilar, all of the other superclasses.

    Args:
        groups: ``(C,)`` of :func:`superclasses`; a class of none is in no set.
    """
    listed = (groups[:, None] >= 0) & (groups >= 0)
    same = groups[:, None] == groups
    return ClassSets(
        similar=listed & same & ~np.eye(len(groups), dtype=bool), dissimilar=listed & ~same
    )


def sets_of_distances(
    distances: Numbers, *, similar_share: float, dissimilar_share: float
) -> ClassSets:
    """Similar are the nearest of the other classes; dissimilar, the farthest.

    Args:
        distances: ``(C, C)``, between all classes; the diagonal is not read.
        similar_share: Of the other classes, rounded up; at least one.
        dissimilar_share: Likewise; fewer where the nearest are among them.

    Raises:
        ValueError: If there are fewer than 3 classes, or all others are nearest.
    """
    others = len(distances) - 1
    near = _share_of(similar_share, others)
    far = min(_share_of(dissimilar_share, others), others - near)
    if far < 1:
        raise ValueError(
            f"of {others} other classes, similar_share = {similar_share} takes {near} and leaves "
            "none that is dissimilar; it takes 3 classes at least, and a smaller share"
        )
    sortable = np.where(np.eye(len(distances), dtype=bool), -np.inf, distances)
    order = np.argsort(sortable, axis=1, kind="stable")[:, 1:]
    similar, dissimilar = np.zeros((2, *distances.shape), dtype=bool)
    np.put_along_axis(similar, order[:, :near], True, axis=1)
    np.put_along_axis(dissimilar, order[:, others - far :], True, axis=1)
    return ClassSets(similar=similar, dissimilar=dissimilar)


def agreement(reference: Flags, found: Flags) -> Numbers:
    """Share of each reference set that the other set contains.

    Args:
        reference: ``(T, C)``, no row empty.
        found: ``(T, C)``.

    Returns:
        ``(T,)`` in [0, 1]; at most the sizes' ratio where the other set is the smaller one.
    """
    shared: Numbers = (reference & found).sum(axis=1) / reference.sum(axis=1)
    return shared


def _plain(name: str) -> str:
    joined = name.strip().lower().replace(" ", "_").replace("-", "_")
    return MISSPELT.get(joined, joined)


def _share_of(share: float, count: int) -> int:
    # 0.07 of 100 is a little more than 7 in binary, and seven are meant.
    return math.ceil(share * count - 1e-9)


def _is_hierarchy(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(members, list) and all(isinstance(member, str) for member in members)
        for members in found.values()
    )
