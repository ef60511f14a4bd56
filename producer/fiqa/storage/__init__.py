"""Where manifests and result shards live: Redis, S3 or a directory."""
