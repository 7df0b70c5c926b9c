"""Nightly continuum imaging for DSA-110: raw subbands to Measurement Sets, images, detections."""

__version__ = "0.1.0"
