"""The worker's commands of `fiqa`: worker, score, run, demo, models."""
