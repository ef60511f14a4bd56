-- Functions that the scripts share. They are added to the table `fiqa`.
--
-- Two parts are sent in front of each script: one line that sets `fiqa` to the keys of keys.py and the numbers of
-- limits.py, and this file. So no script repeats a key or a number.
--
-- A job's virtual time `vt` is the number of its images that were handed out, on a scale common to all jobs. The due
-- job with the smallest `vt` is served next. That is start-time fair queueing (Goyal, Vin, Cheng 1997). The score in
-- the zset `due` also holds the rank of the job's priority: rank * RANK_SPAN + vt.

-- The key of a job's hash, or of one of its parts.
function fiqa.key(job, part)
  return fiqa.JOB .. ':' .. job .. (part and ':' .. part or '')
end

-- Redis's clock in Unix seconds. Workers' clocks do not matter.
function fiqa.clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- A number of the job's hash; 0 if it is not there.
function fiqa.number(job, field)
  return tonumber(redis.call('HGET', fiqa.key(job), field) or 0)
end

-- The number of chunks that can be claimed.
function fiqa.unclaimed(job)
  local counts = redis.call('HMGET', fiqa.key(job), 'chunks', 'next')
  return (counts[1] or 0) - (counts[2] or 0) + redis.call('ZCARD', fiqa.key(job, 'requeued'))
end

-- The mean number of images in a chunk, rounded up.
function fiqa.chunk_images(job)
  local counts = redis.call('HMGET', fiqa.key(job), 'images', 'chunks')
  return math.ceil((counts[1] or 0) / (counts[2] or 0))
end

-- Whether chunks of the job may be worked on.
function fiqa.is_open(job)
  local state = redis.call('HGET', fiqa.key(job), 'state')
  return state == 'running' or state == 'paused'
end

-- Add a running job with unclaimed chunks to `due`, unless it is there.
function fiqa.make_due(job)
  if redis.call('HGET', fiqa.key(job), 'state') ~= 'running' or fiqa.unclaimed(job) == 0 then return end
  if redis.call('ZSCORE', fiqa.DUE, job) then return end
  local floor = fiqa.number(job, 'rank') * fiqa.RANK_SPAN
  local ceiling = '(' .. (floor + fiqa.RANK_SPAN)
  local first = redis.call('ZRANGEBYSCORE', fiqa.DUE, floor, ceiling, 'WITHSCORES', 'LIMIT', 0, 1)
  local vt = first[2] and tonumber(first[2]) - floor or fiqa.number(job, 'vt')
  -- A job that joins or rejoins the queue starts at the smallest virtual time. The newest chunk of that due job does
  -- not count yet. Otherwise a small job would wait for one more chunk of a large one.
  if first[1] and fiqa.number(first[1], 'vt') == vt then vt = math.max(0, vt - fiqa.chunk_images(first[1])) end
  redis.call('ZADD', fiqa.DUE, floor + vt, job)
  redis.call('INCRBY', fiqa.UNCLAIMED, fiqa.unclaimed(job))
end

-- Delete a job from `due`, and subtract its chunks from the number of unclaimed chunks.
function fiqa.make_idle(job)
  if redis.call('ZREM', fiqa.DUE, job) == 1 then redis.call('DECRBY', fiqa.UNCLAIMED, fiqa.unclaimed(job)) end
  if redis.call('EXISTS', fiqa.DUE) == 0 then redis.call('DEL', fiqa.UNCLAIMED) end
end

-- Let Redis forget a finished job `keep_s` seconds from now.
function fiqa.expire(job, now)
  local keep_s = fiqa.number(job, 'keep_s')
  redis.call('EXPIRE', fiqa.key(job), keep_s)
  redis.call('ZADD', fiqa.EXPIRING, now + keep_s, job)
  fiqa.expire_with_job(job)
end

-- Let the job's other keys expire when its hash does.
function fiqa.expire_with_job(job)
  local seconds = redis.call('TTL', fiqa.key(job))
  if seconds < 0 then return end
  for _, part in ipairs({'done', 'manifest', 'results'}) do
    redis.call('EXPIRE', fiqa.key(job, part), seconds)
  end
end

-- Record that a job stands still from now on. This time does not count for its pace.
function fiqa.stop_clock(job, now)
  redis.call('HSET', fiqa.key(job), 'still_since', string.format('%.3f', now))
end

-- Record that a job that stood still runs again, or ends.
function fiqa.start_clock(job, since, now)
  local hash = fiqa.key(job)
  redis.call('HDEL', hash, 'still_since')
  if not since or redis.call('HEXISTS', hash, 'started') == 0 then return end
  redis.call('HINCRBYFLOAT', hash, 'still_s', string.format('%.3f', math.max(0, now - since)))
  redis.call('HSET', hash, 'resumed', string.format('%.3f', now))
  redis.call('DEL', fiqa.key(job, 'pace'))
end

-- End a job: set its state and its reason, and drop what only a running job needs.
function fiqa.finish(job, state, reason, now)
  local hash = fiqa.key(job)
  redis.call('HSET', hash, 'state', state, 'finished', string.format('%.3f', now))
  redis.call('HDEL', hash, 'last_error')
  if reason then redis.call('HSET', hash, 'reason', reason) end
  local still_since = redis.call('HGET', hash, 'still_since')
  if still_since then fiqa.start_clock(job, still_since, now) end
  fiqa.make_idle(job)
  redis.call('SREM', fiqa.PREPARING, job)
  for _, chunk in ipairs(redis.call('HKEYS', fiqa.key(job, 'attempts'))) do
    redis.call('ZREM', fiqa.LEASES, job .. ':' .. chunk)
  end
  local parts = {'attempts', 'holders', 'in_flight', 'quarantined', 'wrong_answers', 'requeued', 'doubts', 'pace'}
  for _, part in ipairs(parts) do redis.call('DEL', fiqa.key(job, part)) end
  -- A job that was never opened gets no summary. The reconciler writes the summary of a cancelled job, at once.
  if redis.call('HGET', hash, 'storage') == fiqa.REDIS_STORAGE or fiqa.number(job, 'chunks') == 0 then
    fiqa.expire(job, now)
  else
    redis.call('ZADD', fiqa.ENDED, state == 'cancelled' and now or now + fiqa.SUMMARY_GRACE_S, job)
  end
end

-- Drop the lease of a chunk, and requeue the chunk if it is not done.
function fiqa.requeue(job, chunk)
  redis.call('ZREM', fiqa.LEASES, job .. ':' .. chunk)
  if not fiqa.is_open(job) or redis.call('GETBIT', fiqa.key(job, 'done'), chunk) == 1 then return end
  if redis.call('ZADD', fiqa.key(job, 'requeued'), chunk, chunk) == 1 and redis.call('ZSCORE', fiqa.DUE, job) then
    redis.call('INCR', fiqa.UNCLAIMED)
  end
  fiqa.make_due(job)
end

-- Requeue the chunks whose leases have expired, at most 100 per call.
function fiqa.sweep(now)
  -- A lease that ends later than LONGEST_LEASE_S from now is from before the clock was set back.
  local latest = now + fiqa.LONGEST_LEASE_S
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', fiqa.LEASES, latest, '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', fiqa.LEASES, now + fiqa.LEASE_S, lease)
  end
  local expired = redis.call('ZRANGEBYSCORE', fiqa.LEASES, '-inf', now, 'LIMIT', 0, 100)
  if #expired > 0 then redis.call('INCRBY', fiqa.LEASES .. ':expired', #expired) end
  for _, lease in ipairs(expired) do
    local job, chunk = lease:match('^(.*):(%d+)$')
    fiqa.requeue(job, chunk)
  end
end

-- Whether the caller with this fencing token holds the chunk's lease. A lease that has expired is held until the chunk
-- is requeued.
function fiqa.holds(job, chunk, token)
  if not fiqa.is_open(job) then return false end
  if redis.call('HGET', fiqa.key(job, 'holders'), chunk) ~= token then return false end
  return redis.call('ZSCORE', fiqa.LEASES, job .. ':' .. chunk)
end
