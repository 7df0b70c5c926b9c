"""The command ``convert``."""


def convert() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
