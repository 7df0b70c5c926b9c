"""Images of sources in an MS."""
