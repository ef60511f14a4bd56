"""The models: which ones there are, where they come from, and how they are prepared and loaded."""
