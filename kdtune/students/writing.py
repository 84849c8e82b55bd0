"""Files that readers see whole or not at all."""

import os
from pathlib import Path


def replace_file(file: Path, content: bytes) -> None:
    """Write ``file`` so that a reader finds the old content or the new."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
