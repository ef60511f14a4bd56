"""The numbers of the ledger, for Python and for the Lua scripts."""

from __future__ import annotations

from typing import Final

LEASE_S: Final = 10.0
LEASES_RENEWED_EVERY_S: Final = 1.5
LONGEST_LEASE_S: Final = 300.0  # a lease with more time left is from before the clock was set back
MAX_TICKETS: Final = 2000  # in the queue; more would let the broker's memory grow with a job
MIN_IMAGES_TO_FAIL: Final = 1000  # a job is stopped for its failed images only after so many images
PACE_WINDOW_S: Final = 60
PACE_BUCKET_S: Final = 5
SUMMARY_GRACE_S: Final = 10.0  # the worker that finished a job writes its summary; after this time a reconciler does
SUMMARY_TRIES: Final = 30  # with pauses of up to an hour: about a day
SUMMARY_LONGEST_WAIT_S: Final = 3600.0
# Larger than any virtual time, in images, so that a job of a lower rank is always served first.
RANK_SPAN: Final = 1_000_000_000_000
