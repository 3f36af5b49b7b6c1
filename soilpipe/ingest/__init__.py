"""From files that arrive to scans in the store: find, name, check, read by row bands, write as OME-Zarr."""
