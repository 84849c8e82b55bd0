"""What five papers printed: figures, tables and protocols, as packaged data."""
