"""NetCDF to sharded Zarr stores: plan, regions, journal, publish."""
