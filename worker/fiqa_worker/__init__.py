"""The worker of fiqa: images in, face quality out."""
