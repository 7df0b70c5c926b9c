"""What has no owner, and what has been kept for long enough: found, shown, removed."""
