"""Catalogues of sources."""
