-- Take the reconcilers' lock, unless another process holds it.
--
-- Keys: reconciler.
-- ARGV: 1 milliseconds to hold the lock.
-- Reply: 1 the lock is the caller's; 0 another process holds it.
local hold_ms = ARGV[1]
local left_ms = redis.call('PTTL', fiqa.RECONCILER_LOCK)
-- A lock with more time left than anybody asks for is from before the clock was set back.
if left_ms > 0 and left_ms <= tonumber(hold_ms) then return 0 end
redis.call('SET', fiqa.RECONCILER_LOCK, 1, 'PX', hold_ms)
return 1
