"""The command ``groups``."""


def groups() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
