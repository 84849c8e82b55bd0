"""Figures of analyses as files."""

from pathlib import Path
from typing import IO, Any

import pytest
from matplotlib.figure import Figure

from kdtune.analysis.figures import panels, save


def test_a_figure_that_cannot_be_drawn_whole_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure, _ = panels(title="whole")
    files = save({"shown": figure}, tmp_path)
    before = [file.read_bytes() for file in files]

    def half(self: Figure, file: IO[bytes] | Path, **options: Any) -> None:
        if isinstance(file, Path):
            file.write_bytes(b"half")
        else:
            file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="no space"):
        save({"shown": figure}, tmp_path)
    assert [file.name for file in files] == ["shown.png", "shown.svg"]
    assert [file.read_bytes() for file in files] == before
    assert sorted(tmp_path.iterdir()) == sorted(files)
