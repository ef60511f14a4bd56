-- Record that the summary of a finished job is written, unless another chunk was counted since.
--
-- Keys: ended; expiring; the job's hash and parts.
-- ARGV: 1 job id; 2 the number of done chunks in the summary.
-- Reply: 1.
local job, done = ARGV[1], ARGV[2]
local hash = fiqa.key(job)
if redis.call('EXISTS', hash) == 0 then
  redis.call('ZREM', fiqa.ENDED, job)
elseif fiqa.number(job, 'done') == tonumber(done) and redis.call('ZREM', fiqa.ENDED, job) == 1 then
  redis.call('HDEL', hash, 'last_error', 'summary_tries')
  fiqa.expire(job, fiqa.clock())
end
return 1
