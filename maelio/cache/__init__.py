"""Files behind URLs, fetched once for everybody who shares a cache."""
