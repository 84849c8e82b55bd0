"""A search space on a console: what all arms share, each arm, the recipes, and what to compare."""

from collections.abc import Iterable, Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdtune.search.space import Arm, Row, Space


def overview(space: Space) -> RenderableType:
    """Everything that ``space`` holds, to be printed on a rich console of any width."""
    rows = space.table()
    several = len(space.arms) > 1
    parts: list[RenderableType] = [Text.assemble((space.name, "bold"), f": {space.summary}")]
    common = [row for row in rows if not several or not row.arm]
    parts.append(_table("shared key" if several else "key", {"": common}))
    if several:
        parts.append(_table("key", {arm.name: _own_rows(arm, rows) for arm in space.arms}))
    return Group(*parts, *_recipes(space), *_tables(space))


def _own_rows(arm: Arm, rows: Iterable[Row]) -> list[Row]:
    """The lines of one arm: its method first, and what it does without on one line."""
    own = [row for row in rows if row.arm == arm.name and row.kind != "absent"]
    own.sort(key=lambda row: row.key != "method")
    without = [Row("(without)", "absent", ", ".join(arm.without), arm.name)] if arm.without else []
    return own + without


def _table(title: str, groups: Mapping[str, list[Row]]) -> Table:
    """One line a key, the groups apart; their names stand in a column of their own."""
    named = any(groups)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if named:
        table.add_column("arm", no_wrap=True, style="bold")
    table.add_column(title, no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("range or value", overflow="fold")
    for name, rows in groups.items():
        if named:
            table.add_section()
        for position, row in enumerate(rows or [Row("", "", "", name)]):
            first = [Text("" if position else name)] if named else []
            table.add_row(*first, *map(Text, row[:3]))
    return table


def _recipes(space: Space) -> Iterator[Text]:
    """Name, arm, what of it is searched, and where it was published."""
    for recipe in space.recipes:
        searched = space.active(recipe.arm)
        own = {k: v for k, v in recipe.values.items() if k in searched}
        arm = [recipe.arm] if len(space.arms) > 1 else []
        values = ", ".join([*arm, *(f"{key}={value}" for key, value in own.items())])
        yield Text.assemble((recipe.name, "bold"), f": {values}\n  {recipe.source}")


def _tables(space: Space) -> Iterator[Text]:
    if space.tables:
        yield Text(f"\nComparable with {', '.join(space.tables)}")
