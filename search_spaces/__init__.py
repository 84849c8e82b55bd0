"""Ready-made search spaces: one module each, with a ``SPACE`` in it."""
