"""The checks of `fiqa doctor`: each one looks at a part of the setup, and returns findings."""
