"""Effects on a terminal."""

from rich.console import Console
from rich.text import Text

from kdtune.compare.effects import Effects
from kdtune.report.effect_sheets import effect_sheets, untold
from kdtune.report.settings import plain_table


def print_effects(effects: Effects, console: Console) -> None:
    """Tables, then what cannot be told and the commands that would tell."""
    for sheet in effect_sheets(effects):
        table = plain_table(sheet.title)
        for column, heading in enumerate(sheet.headings):
            table.add_column(heading, justify="left" if column in sheet.left else "right")
        for row in sheet.rows:
            table.add_row(*(cell.text for cell in row))
        console.print(table)
        for note in sheet.notes:
            console.print(Text(note, style="dim"))
        console.print()
    lines = untold(effects)
    if lines:
        console.print(Text("Not told by these runs", style="bold"))
    for line in lines:
        # A command is to be pasted: as it is, however long.
        console.print(Text(line), soft_wrap=line.startswith(" "))
