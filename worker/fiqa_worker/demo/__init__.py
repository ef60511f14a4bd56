"""What `fiqa demo` scores and shows."""
