"""The int8 form of a quality model: faces to calibrate with, the model itself, and how well its scores agree."""
