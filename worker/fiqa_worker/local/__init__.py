"""The embedded system of `fiqa run` and `fiqa demo`."""
