"""Files that must not be lost, half written, or written twice at once."""
