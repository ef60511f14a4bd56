"""Items to results: prefetch, decode, detect, align, score."""
