"""The command ``airflow``."""


def airflow() -> None:
    """Say that this command is being built."""
    raise NotImplementedError
