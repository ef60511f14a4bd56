"""Manifests in: files, folders, prefixes and lists become a stream of items."""
