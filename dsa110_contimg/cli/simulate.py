"""The command ``simulate``."""


def simulate() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
