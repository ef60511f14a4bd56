-- Delete the ids of expired jobs from `jobs`, and what is left of these jobs, at most 1,000 jobs per call.
--
-- Keys: jobs; expiring; the jobs' hashes.
-- ARGV: none.
-- Reply: number of deleted ids.
local now, gone = fiqa.clock(), 0
for _, job in ipairs(redis.call('ZRANGEBYSCORE', fiqa.EXPIRING, '-inf', now, 'LIMIT', 0, 1000)) do
  local left = redis.call('TTL', fiqa.key(job))
  if left >= 0 then
    redis.call('ZADD', fiqa.EXPIRING, now + left + 1, job)
  else
    redis.call('ZREM', fiqa.EXPIRING, job)
    if left == -2 then
      redis.call('ZREM', fiqa.JOBS, job)
      redis.call('ZREM', fiqa.ENDED, job)
      redis.call('SREM', fiqa.PREPARING, job)
      for _, part in ipairs({
        'done', 'attempts', 'holders', 'requeued', 'in_flight', 'quarantined', 'wrong_answers', 'doubts'
      }) do
        redis.call('UNLINK', fiqa.key(job, part))
      end
      gone = gone + 1
    end
  end
end
return gone
