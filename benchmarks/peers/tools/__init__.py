"""One script a tool, run as `SCRIPT TARGET JSON SOURCE...`; none pays for what another one imports."""
