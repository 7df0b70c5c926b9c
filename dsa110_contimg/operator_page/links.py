"""Addresses of the pages, of the files that they show, and of Airflow's own pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

from dsa110_contimg.settings import Settings


def served_roots(settings: Settings) -> dict[str, Path]:
    """List the directories that files are handed out from.

    The addresses mirror the work directory, so that links inside a night report hold too.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    dict of str to Path
        First part of the address to directory.
    """
    return {
        "nights": settings.nights_dir,
        "products": settings.products_dir,
        "calibration": settings.calibration_dir,
        "ms": settings.ms_dir,
    }


class Named(Protocol):
    """A night, or its results by hand."""

    @property
    def date(self) -> str:
        """UTC date."""

    def absolute(self, relative: str) -> Path:  # numpydoc ignore=PR01,RT01
        """Find where a path in it leads."""


@dataclass(frozen=True)
class Links:
    """Makes addresses."""

    base: str
    """Where the pages are mounted."""
    airflow_base: str
    """Where Airflow is mounted; empty at the root of its host."""
    roots: dict[str, Path]
    """As `served_roots` gives them."""

    def page(self, *parts: str, **query: object) -> str:
        """Name a page.

        Parameters
        ----------
        *parts : str
            Its path.
        **query : object
            Its parameters; empty ones are left out.

        Returns
        -------
        str
            Address.
        """
        path = "/".join(quote(part, safe=":") for part in parts)
        given = {name: value for name, value in query.items() if value}
        return f"{self.base}/{path}" + (f"?{urlencode(given)}" if given else "")

    def group(self, date: str, group_id: str) -> str:
        """Name the page of a group.

        Parameters
        ----------
        date, group_id : str
            Night and group.

        Returns
        -------
        str
            Address.
        """
        return self.page("nights", date, "groups", group_id)

    def source(self, date: str, group_id: str, name: str) -> str:
        """Name the page of a source.

        Parameters
        ----------
        date, group_id, name : str
            Night, group and source.

        Returns
        -------
        str
            Address.
        """
        return self.page("nights", date, "groups", group_id, "sources", name)

    def file(self, view: Named, relative: str | None) -> str | None:
        """Name a file that a night's report, or its results by hand, name.

        Parameters
        ----------
        view : Named
            The night.
        relative : str or None
            Path relative to the report.

        Returns
        -------
        str or None
            Address; None if it is not there, or outside of what is handed out.
        """
        if relative is None:
            return None
        path = view.absolute(relative)
        for name, root in self.roots.items():
            if path.is_relative_to(root):
                return (
                    self.page(name, *path.relative_to(root).parts, night=view.date)
                    if path.is_file()
                    else None
                )
        return None

    def airflow(self, path: str) -> str:
        """Name a page of Airflow.

        Parameters
        ----------
        path : str
            Below its root.

        Returns
        -------
        str
            Address.
        """
        return f"{self.airflow_base}{path}"
