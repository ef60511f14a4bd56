"""Where manifests and results live: in Redis, in a folder or in S3."""
