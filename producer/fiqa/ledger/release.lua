-- Release a chunk that the caller holds, without counting this attempt.
--
-- After an error the lease is kept for a while as a backoff, so that a storage that is down is not hammered.
--
-- Keys: leases; due; the job's hash and its parts attempts, holders, requeued, in_flight and quarantined.
-- ARGV: 1 job id; 2 chunk; 3 fencing token; 4 seconds to keep the lease; 5 the error, or '';
--   6 an item to quarantine as 'index:code', or ''.
-- Reply: 1 the chunk is released; 0 the lease is lost.
local job, chunk, token, delay_s, last_error, item = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
if not fiqa.holds(job, chunk, token) then return 0 end
redis.call('HDEL', fiqa.key(job, 'holders'), chunk)
redis.call('HINCRBY', fiqa.key(job, 'attempts'), chunk, -1)
redis.call('HDEL', fiqa.key(job, 'in_flight'), chunk)
if last_error ~= '' then redis.call('HSET', fiqa.key(job), 'last_error', last_error) end
if item ~= '' then
  local before = redis.call('HGET', fiqa.key(job, 'quarantined'), chunk) or ''
  redis.call('HSET', fiqa.key(job, 'quarantined'), chunk, before .. ' ' .. item)
end
if delay_s > 0 then
  redis.call('ZADD', fiqa.LEASES, fiqa.clock() + delay_s, job .. ':' .. chunk)
else
  fiqa.requeue(job, chunk)
end
return 1
