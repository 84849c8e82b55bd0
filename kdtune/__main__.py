"""``python -m kdtune``: the command where the package was shipped without its console script."""

import sys

from kdtune.cli import main

if __name__ == "__main__":
    sys.argv[0] = "kdtune"
    main()
