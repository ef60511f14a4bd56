"""The models: which models exist, where they come from, and how they are prepared and loaded."""
