"""The whole corpus: python -m tests.hostile --mutations 20000 [--seed 1]. Exit status 1 if there is a finding."""

from __future__ import annotations

import argparse
import sys

from tests.hostile.feed import feed

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = feed(options.seed, range(options.first, options.first + options.mutations))
    sys.stdout.write(f"{found}\n")
    sys.exit(bool(found.bad))
