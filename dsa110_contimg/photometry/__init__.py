"""Flux densities, adaptive binning of spectral windows, detections."""
