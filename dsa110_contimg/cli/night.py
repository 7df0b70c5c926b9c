"""The command ``night``."""


def night() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
