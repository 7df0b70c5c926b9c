"""The command ``report``."""


def report() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
