-- Claim one chunk: of the due job with the best priority, and among those of the job with the smallest virtual time.
--
-- Keys: due; leases; the hash of the job, and its parts done, attempts, holders, requeued, in_flight and quarantined.
-- ARGV: 1 length of the lease in seconds.
-- Reply: an empty list if no chunk is due; else job id, chunk, attempt, fencing token, storage URL, the quarantined
--   items as 'index:code index:code', and the sizes of the job's chunks.
local lease_s = ARGV[1]
local now = fiqa.clock()
fiqa.sweep(now)
while true do
  local job, score = unpack(redis.call('ZRANGE', fiqa.DUE, 0, 0, 'WITHSCORES'))
  if not job then return {} end
  local hash = fiqa.key(job)
  local counts = redis.call('HMGET', hash, 'next', 'chunks')
  local next, chunks = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
  local chunk = tonumber(redis.call('ZPOPMIN', fiqa.key(job, 'requeued'))[1])
  if not chunk and next < chunks then
    chunk = next
    -- If the job was recovered, the next thousands may be done. Skip all of them at once.
    if redis.call('GETBIT', fiqa.key(job, 'done'), next) == 1 then
      chunk = math.max(next, redis.call('BITPOS', fiqa.key(job, 'done'), 0, math.floor(next / 8)))
    end
    redis.call('HSET', hash, 'next', math.min(chunk + 1, chunks))
    -- The bitmap has whole bytes, and ends with its last 1: there may be a 0 that is not a chunk.
    if chunk >= chunks then chunk = nil end
  end
  if not chunk then
    redis.call('ZREM', fiqa.DUE, job)
  else
    score = score + fiqa.chunk_images(job)
    redis.call('HSET', hash, 'vt', string.format('%.0f', score % fiqa.RANK_SPAN))
    if fiqa.unclaimed(job) > 0 then
      redis.call('ZADD', fiqa.DUE, score, job)
    else
      redis.call('ZREM', fiqa.DUE, job)
    end
    if redis.call('GETBIT', fiqa.key(job, 'done'), chunk) == 0 then
      redis.call('HSETNX', hash, 'started', string.format('%.3f', now))
      redis.call('ZADD', fiqa.LEASES, now + lease_s, job .. ':' .. chunk)
      local attempt = redis.call('HINCRBY', fiqa.key(job, 'attempts'), chunk, 1)
      -- Redis runs one script at a time, and each takes more than a microsecond. A counter would hand out the same
      -- token again after a failover that lost a claim.
      local token = string.format('%.0f', now * 1e6)
      redis.call('HSET', fiqa.key(job, 'holders'), chunk, token)
      -- An item that is still in flight: the worker that held the chunk before died on it.
      local in_flight = redis.call('HGET', fiqa.key(job, 'in_flight'), chunk)
      local quarantined = redis.call('HGET', fiqa.key(job, 'quarantined'), chunk) or ''
      if in_flight then
        quarantined = quarantined .. ' ' .. in_flight .. ':worker_crashed'
        redis.call('HSET', fiqa.key(job, 'quarantined'), chunk, quarantined)
        redis.call('HDEL', fiqa.key(job, 'in_flight'), chunk)
      end
      local stored = redis.call('HMGET', hash, 'storage', 'sizes')
      return {job, chunk, attempt, token, stored[1], quarantined, stored[2] or ''}
    end
  end
end
