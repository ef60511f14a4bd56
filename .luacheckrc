-- Redis runs scripts in Lua 5.1. producer/fiqa/ledger/lua.py puts the table `fiqa` in front of each script.
std = "lua51"
read_globals = { "ARGV", "KEYS", "fiqa", redis = { fields = { "call" } } }
files["**/shared.lua"] = { globals = { "fiqa" } }
