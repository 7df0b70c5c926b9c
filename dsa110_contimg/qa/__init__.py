"""What a night came to: records, plots and the report."""
