"""The job ledger in Redis: keys, Lua scripts, and the class that calls them."""
