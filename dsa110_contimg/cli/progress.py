"""What commands show of a work in progress besides its bars."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.progress import ProgressColumn, Task
from rich.text import Text

from dsa110_contimg.cli.output import console


class RemainingColumn(ProgressColumn):
    """Shows how long a work still takes, as the field ``remaining`` of its bar says now."""

    def render(self, task: Task) -> Text:
        """Ask the field.

        Parameters
        ----------
        task : Task
            The bar.

        Returns
        -------
        Text
            Empty for a bar without the field.
        """
        say = task.fields.get("remaining")
        return Text(say() if say else "")


class NewLines:
    """Prints each sentence once, with the time."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, sentences: Iterable[str], subject: str = "") -> None:
        """Print what has not been said before.

        Parameters
        ----------
        sentences : iterable of str
            What there is to say.
        subject : str, optional
            What they are about.
        """
        for sentence in sentences:
            line = f"{subject}  {sentence}" if subject else sentence
            if line not in self._said:
                self._said.add(line)
                now = datetime.now(UTC)
                console.print(f"{now:%H:%M:%S}  {line}", soft_wrap=True, markup=False)
