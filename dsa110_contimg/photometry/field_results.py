"""From the fit of a field to one result per source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.blends import (
    MAX_INFLATION,
    describe_blends,
    only_the_sum,
    separation_arcsec,
)
from dsa110_contimg.photometry.failures import describe_failures
from dsa110_contimg.photometry.models import (
    BinningOptions,
    Blend,
    FieldFit,
    FittedSource,
    SourceResult,
    SpwFailure,
    SpwMeasurement,
)
from dsa110_contimg.photometry.spectrum import fit_power_law
from dsa110_contimg.photometry.uvfit import FieldMeasurement, PairFit, UvfitWork, WindowFit
from dsa110_contimg.provenance import Provenance

_GOOD_CHI2 = 1.1
"""A joint fit above it lacks a source or a calibration: noise alone stays within 1.02."""


class FieldResults:
    """The results of the sources of a field.

    Parameters
    ----------
    work : UvfitWork
        What was fitted.
    measurement : FieldMeasurement
        What came of it.
    """

    def __init__(self, work: UvfitWork, measurement: FieldMeasurement):
        self._work, self._measurement = work, measurement
        self._pairs: dict[int, dict[int, list[tuple[WindowFit, PairFit]]]] = {}
        for window in measurement.windows:
            for pair in window.pairs:
                for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                    self._pairs.setdefault(one, {}).setdefault(other, []).append((window, pair))

    def field_fit(self) -> FieldFit:
        """Collect the flux densities of all sources.

        Returns
        -------
        FieldFit
            What imaging may subtract.
        """
        windows = self._measurement.windows
        return FieldFit(
            ms_path=self._work.info.ms_path,
            ms_file=self._work.snapshot.file,
            sources=[
                FittedSource(
                    source=source,
                    flux_jy={window.spw_id: window.flux_jy[index] for window in windows},
                    inflation={window.spw_id: window.inflation[index] for window in windows},
                    blends=list(self._blends(index)),
                )
                for index, source in enumerate(self._work.sources)
            ],
        )

    def result(self, index: int, binning: BinningOptions, provenance: Provenance) -> SourceResult:
        """Make the result of one source.

        Parameters
        ----------
        index : int
            Its place in the list of sources.
        binning : BinningOptions
            Search for detections.
        provenance : Provenance
            Goes into the result.

        Returns
        -------
        SourceResult
            Without products.
        """
        source, work = self._work.sources[index], self._work
        blends = list(self._blends(index))
        spws, failures = self._measurements(index, blends)
        failures = sorted(self._measurement.failures + failures, key=lambda f: f.spw_id)
        return SourceResult(
            name=source.name,
            ra_deg=source.ra_deg,
            dec_deg=source.dec_deg,
            success=not failures,
            error=describe_failures(failures, len(work.spws)),
            n_spws=len(work.spws),
            spws=spws,
            failed_spws=failures,
            detections=find_detections(spws, binning),
            power_law=fit_power_law(spws),
            blends=blends,
            notes=self._notes(blends),
            ms_path=work.info.ms_path,
            provenance=provenance,
        )

    def _measurements(
        self, index: int, blends: Sequence[Blend]
    ) -> tuple[list[SpwMeasurement], list[SpwFailure]]:
        """Take a source out of each window; refuse what cannot be told from a neighbour."""
        spws, failures = [], []
        info = {spw.spw_id: spw for spw in self._work.spws}
        for window in self._measurement.windows:
            if not window.inflation[index] <= MAX_INFLATION:
                failures.append(SpwFailure(spw_id=window.spw_id, reason=only_the_sum(blends)))
                continue
            flux_jy, rms_jy = window.flux_jy[index], window.rms_jy[index]
            spws.append(
                SpwMeasurement(
                    spw_id=window.spw_id,
                    freq_hz=info[window.spw_id].freq_hz,
                    bandwidth_hz=info[window.spw_id].bandwidth_hz,
                    flux_jy=flux_jy,
                    rms_jy=rms_jy,
                    snr=flux_jy / rms_jy,
                    flagged_fraction=window.flagged_fraction,
                    error_inflation=window.inflation[index],
                    reduced_chi2=window.reduced_chi2,
                )
            )
        return spws, failures

    def _blends(self, index: int) -> Iterator[Blend]:
        """Describe the neighbours that a source depends on, the nearest first."""
        neighbours = self._pairs.get(index, {})
        source = self._work.sources[index]
        apart = {
            other: separation_arcsec(source, self._work.sources[other]) for other in neighbours
        }
        for other in sorted(neighbours, key=apart.__getitem__):
            n_summed = max(len(pair.members) for _, pair in neighbours[other])
            fits = [(w, p) for w, p in neighbours[other] if len(p.members) == n_summed]
            sums_jy = np.array([sum(w.flux_jy[k] for k in pair.members) for w, pair in fits])
            weights = np.array([pair.sum_rms_jy for _, pair in fits]) ** -2.0
            yield Blend(
                name=self._work.sources[other].name,
                separation_arcsec=apart[other],
                correlation=max((pair.correlation for _, pair in fits), key=abs),
                n_summed=n_summed,
                sum_flux_jy=float(np.average(sums_jy, weights=weights)),
                sum_rms_jy=float(weights.sum() ** -0.5),
            )

    def _notes(self, blends: Sequence[Blend]) -> list[str]:
        """Say what a reader must know."""
        joint = (
            f"Joint fit of {len(self._work.sources)} source(s) of the field in the uv plane; "
            "errors allow for all of them."
        )
        notes = [joint, *describe_blends(blends)]
        poor = [w.spw_id for w in self._measurement.windows if w.reduced_chi2 > _GOOD_CHI2]
        if poor:
            notes.append(
                f"In window(s) {', '.join(map(str, poor))} the residuals exceed the noise: the "
                "field's model lacks a source, or the calibration is poor; errors are scaled up."
            )
        return notes + self._measurement.notes
