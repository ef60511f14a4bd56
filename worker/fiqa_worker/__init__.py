"""The worker of fiqa: photos in, face quality out."""
