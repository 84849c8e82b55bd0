"""The cells of a table by number, and which of them a user chose."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from kdtune.contracts import Scalar
from kdtune.papers import PAPERS, Figure, figures, tables
from kdtune.registry import nearest


def cells_of(target: str) -> dict[int, Figure]:
    """The cells of ``PAPER:TABLE``, numbered from 1 in the paper's order.

    Raises:
        ValueError: If it names no paper or no table; the message names the nearest.
    """
    paper, colon, table = target.partition(":")
    if not colon:
        known = ", ".join(tables(paper)) if paper in PAPERS else ""
        choices = f"; its tables: {known}" if known else nearest(paper, PAPERS)
        raise ValueError(f"a table is PAPER:TABLE, such as cho2019:T6, got '{target}'{choices}")
    return dict(enumerate(figures(paper, table), start=1))


def chosen(cells: Mapping[int, Figure], texts: Sequence[str]) -> dict[int, Figure]:
    """The cells that ``--cells`` names; all without it.

    Args:
        cells: By number.
        texts: Each a list separated by commas: numbers, ranges such as ``4-7``, and ``key=value``
            of what :func:`attributes` says. Numbers add up; so do values of one key; several keys
            must all hold, beside the numbers.

    Raises:
        ValueError: If a text is none of these, or names what no cell has; names the near ones.
    """
    numbers: set[int] = set()
    wanted: dict[str, set[str]] = {}
    last = ""
    for part in (part.strip() for text in texts for part in text.split(",")):
        key, equals, value = part.partition("=")
        if equals:
            last = key
            wanted.setdefault(key.strip(), set()).add(_known_value(cells, key.strip(), value))
        else:
            numbers |= _numbers(part, len(cells), after=last)
    found = {
        number: figure
        for number, figure in cells.items()
        if (not numbers or number in numbers)
        and all(_text(attributes(figure).get(k)) in values for k, values in wanted.items())
    }
    if not found:
        raise ValueError(f"--cells {','.join(texts)} leaves no cell; the table has {len(cells)}")
    return found


def attributes(figure: Figure) -> dict[str, Scalar]:
    """What cells can be chosen by: networks, dataset, method, metric, row, and all conditions."""
    return {
        "row": figure.row_label,
        "dataset": figure.dataset,
        "teacher": figure.teacher or "none",
        "student": figure.student,
        "method": figure.method,
        "metric": figure.metric,
        **figure.conditions,
    }


def _numbers(text: str, last: int, *, after: str) -> set[int]:
    parsed = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", text)
    if parsed is None:
        hint = f"; did you mean '{after}={text}'?" if after and text else ""
        raise ValueError(
            f"--cells takes numbers, ranges such as 4-7 and key=value, got '{text}'{hint}"
        )
    first, end = int(parsed[1]), int(parsed[2] or parsed[1])
    if not 1 <= first <= end <= last:
        raise ValueError(f"--cells must lie in 1 to {last}, got '{text}'")
    return set(range(first, end + 1))


def _known_value(cells: Mapping[int, Figure], key: str, value: str) -> str:
    """The text of the value of ``key`` that ``value`` means."""
    all_of = [attributes(figure) for figure in cells.values()]
    keys = {name for each in all_of for name in each}
    if key not in keys:
        raise ValueError(f"no cell has '{key}'{nearest(key, keys)}")
    values = {_text(each[key]) for each in all_of if key in each}
    given = value.strip()
    same = [text for text in values if _alike(text, given)]
    if not same:
        raise ValueError(f"no cell has {key} '{given}'{nearest(given, values)}")
    return same[0]


def _alike(text: str, given: str) -> bool:
    try:
        return float(text) == float(given)
    except ValueError:
        return text.casefold() == given.casefold()


def _text(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def number_text(numbers: Iterable[int]) -> str:
    """``1, 2, 3, 5`` as ``1-3,5``, the way ``--cells`` takes it."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def cells_text(numbers: Collection[int]) -> str:
    """``cell 4``, or ``cells 1-3,5``."""
    return f"cell{'s' if len(numbers) > 1 else ''} {number_text(numbers)}"
