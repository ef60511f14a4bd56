"""The light client of fiqa: enqueue bulk jobs of images, follow them, read their results."""
