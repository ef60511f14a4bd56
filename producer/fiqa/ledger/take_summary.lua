-- Return a finished job whose summary must be written now, and postpone its next try, so that no other process takes
-- the same job.
--
-- Keys: ended; expiring; the job's hash and parts.
-- ARGV: none.
-- Reply: the job id; nil there is none.
local now = fiqa.clock()
for _, job in ipairs(redis.call('ZRANGEBYSCORE', fiqa.ENDED, '-inf', now, 'LIMIT', 0, 100)) do
  local hash = fiqa.key(job)
  local tries = fiqa.number(job, 'summary_tries')
  if redis.call('EXISTS', hash) == 0 then
    redis.call('ZREM', fiqa.ENDED, job)
  elseif tries >= fiqa.SUMMARY_TRIES then
    redis.call('ZREM', fiqa.ENDED, job)
    redis.call('HSET', hash, 'last_error', 'given up: ' .. (redis.call('HGET', hash, 'last_error') or 'summary.json'))
    fiqa.expire(job, now)
  else
    redis.call('HSET', hash, 'summary_tries', tries + 1)
    redis.call('ZADD', fiqa.ENDED, now + math.min(fiqa.SUMMARY_LONGEST_WAIT_S, fiqa.SUMMARY_GRACE_S * 2 ^ tries), job)
    return job
  end
end
return false
