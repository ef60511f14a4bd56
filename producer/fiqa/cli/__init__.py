"""The `fiqa` command: commands, and nothing but commands."""
