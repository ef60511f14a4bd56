"""What Redis knows of jobs."""
