"""Where a map over data runs, and the Parquet shards that it can be resumed from."""
