"""Gain solutions: which calibrator, how they are found, judged, kept, chosen and applied."""
