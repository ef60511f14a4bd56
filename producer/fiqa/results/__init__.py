"""Results out: exported files and the report."""
