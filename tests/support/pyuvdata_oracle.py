"""An independent conversion: pyuvdata reads, relabels, rotates, and writes an MS.

The file says ``drift``, which pyuvdata takes for unprojected data; they are in truth phased
to the meridian at the pointing declination. So the phase centre is relabelled as a
``driftscan`` before anything is rotated (docs/architecture.md, "The phase state").
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pyuvdata import UVData


def read_on_meridian(path: Path) -> UVData:
    """Read one subband file with its true phase centre, the meridian, data untouched."""
    uvd = put_on_meridian(read_as_labelled(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd.check()
    return uvd


def read_as_labelled(path: Path) -> UVData:
    """Read one subband file with the phase centre that it says it has."""
    uvd = UVData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # float32 UVW are refused by the check: cast first, check afterwards.
        uvd.read_uvh5(str(path), run_check=False)
    uvd.uvw_array = uvd.uvw_array.astype(np.float64)
    return uvd


def put_on_meridian(uvd: UVData) -> UVData:
    """Give data their true phase centre, the meridian, and leave them as they are."""
    dec_rad = float(uvd.extra_keywords["phase_center_dec"])
    lat_rad = uvd.telescope.location.lat.rad
    uvd.phase_center_catalog = {}
    uvd.Nphase = 0
    center = uvd._add_phase_center(
        cat_name="meridian",
        cat_type="driftscan",
        cat_lon=0.0 if dec_rad > lat_rad else np.pi,
        cat_lat=np.pi / 2 - abs(dec_rad - lat_rad),
        cat_frame="altaz",
    )
    uvd.phase_center_id_array = np.full(uvd.Nblts, center)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd._set_app_coords_helper()
        uvd.set_uvws_from_antenna_positions(update_vis=False)
    return uvd


def phase_to(uvd: UVData, ra_rad: float, dec_rad: float) -> UVData:
    """Rotate to one ICRS centre."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd.phase(lon=ra_rad, lat=dec_rad, cat_name="mid", phase_frame="icrs")
    return uvd


def rewrite(path: Path, directory: Path) -> Path:
    """Have pyuvdata write a file anew, under the same name."""
    uvd, anew = read_as_labelled(path), directory / path.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd.write_uvh5(str(anew))
    return anew
