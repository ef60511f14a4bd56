"""What is done to a job: submit, delete, retry, recover, summarize."""
