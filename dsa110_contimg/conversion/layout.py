"""What one Measurement Set holds besides its bulk data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from astropy.coordinates import EarthLocation

from dsa110_contimg.conversion.geometry import PhaseCenter

FloatArray = npt.NDArray[np.float64]

_SECONDS_PER_DAY = 86400.0
_MJD_ZERO_JD = 2400000.5


@dataclass(frozen=True)
class MsLayout:
    """All that the tables of one MS need to know.

    Attributes
    ----------
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, UTC as Julian dates.
    integration_time_s : float
        Length of an integration in seconds.
    antenna1, antenna2 : ndarray of int32, shape (nbls,)
        Rows of the ANTENNA table, ``antenna1 <= antenna2``.
    antenna_names : list of str
        One per row of the ANTENNA table.
    antenna_itrf_m : ndarray of float64, shape (nants_telescope, 3)
        Geocentric positions in metres.
    site : EarthLocation
        Position of the telescope.
    telescope_name : str
        Must be known to CASA's observatory table.
    center : PhaseCenter
        The one field.
    field_name : str
        Its name.
    spw_names : list of str
        Ascending in frequency.
    spw_freqs_hz : list of ndarray of float64, shape (nchan,)
        Channel centres per window, ascending.
    vis_units : str
        Unit of the visibilities, as their files state it.
    """

    times_jd: FloatArray
    integration_time_s: float
    antenna1: npt.NDArray[np.int32]
    antenna2: npt.NDArray[np.int32]
    antenna_names: list[str]
    antenna_itrf_m: FloatArray
    site: EarthLocation
    telescope_name: str
    center: PhaseCenter
    field_name: str
    spw_names: list[str]
    spw_freqs_hz: list[FloatArray]
    vis_units: str

    @property
    def n_rows_per_spw(self) -> int:
        """Number of rows of one spectral window."""
        return len(self.times_jd) * len(self.antenna1)

    @property
    def n_channels(self) -> int:
        """Number of channels of one spectral window."""
        return len(self.spw_freqs_hz[0])

    @property
    def n_rows(self) -> int:
        """Number of rows of the main table."""
        return self.n_rows_per_spw * len(self.spw_names)


def mjd_s(times_jd: FloatArray) -> FloatArray:
    """Convert to modified Julian dates in seconds, as an MS has its times.

    Parameters
    ----------
    times_jd : ndarray of float64
        Julian dates in days.

    Returns
    -------
    ndarray of float64
        The same in the MS's way.
    """
    return (times_jd - _MJD_ZERO_JD) * _SECONDS_PER_DAY
