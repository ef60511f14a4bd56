"""The Celery worker: it takes tickets, processes chunks under a lease, and drains at the end."""
