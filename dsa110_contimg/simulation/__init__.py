"""A simulated night of UVH5 groups, with its truth."""
