"""What is done to a job: submit, delete, retry, recover, summarize. Private; Client is the public way to it."""
