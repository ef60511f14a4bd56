"""The Celery worker: tickets in, chunks scored, leases kept, a drain at the end."""
