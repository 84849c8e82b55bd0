"""What five papers printed, and what is measured, side by side."""
