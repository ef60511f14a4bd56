"""Sources: files, folders, prefixes, lists and iterables become a stream of items."""
