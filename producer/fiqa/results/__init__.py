"""Results out: selected, written to files, or counted for the report."""
