"""The command ``adaptive``."""


def adaptive() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
