"""Groups of UVH5 subband files to Measurement Sets."""
