"""The photos that `fiqa demo` scores, and how it shows the results."""
