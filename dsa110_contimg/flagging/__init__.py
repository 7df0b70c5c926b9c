"""Flags: radio interference, dead antennas, and what is no measurement at all."""
