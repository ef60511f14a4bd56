-- Pause, resume, cancel or delete a job. If the job's state does not allow it, nothing changes.
--
-- Keys: the job's hash and parts; jobs; due; leases; ended.
-- ARGV: 1 job id; 2 'pause', 'resume', 'cancel' or 'delete'; 3 submission token, or '' for any;
--   4 the new share of failed images that stops the job, or ''. Only with a new share can a failed job be resumed.
-- Reply: the state before; nil there is no such job; 'replaced' the job was replaced by a later submission.
local job, verb, submission, max_failed = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local hash = fiqa.key(job)
local state = redis.call('HGET', hash, 'state')
if state and submission ~= '' and redis.call('HGET', hash, 'submission') ~= submission then
  return 'replaced'
end

-- Let a failed job continue. Requeue its claimed chunks that are not done: their leases were dropped when it failed.
local function reopen()
  redis.call('HSET', hash, 'state', 'running', 'max_failed', max_failed)
  fiqa.start_clock(job, redis.call('HGET', hash, 'finished'), fiqa.clock())
  redis.call('HDEL', hash, 'reason', 'finished')
  redis.call('HDEL', hash, 'last_error', 'summary_tries')
  redis.call('ZREM', fiqa.ENDED, job)
  redis.call('ZREM', fiqa.EXPIRING, job)
  redis.call('PERSIST', hash)
  for _, part in ipairs({'done', 'manifest', 'results'}) do redis.call('PERSIST', fiqa.key(job, part)) end
  local done = redis.call('GET', fiqa.key(job, 'done')) or ''
  for chunk = 0, fiqa.number(job, 'next') - 1 do
    local byte = done:byte(math.floor(chunk / 8) + 1) or 0
    if math.floor(byte / 2 ^ (7 - chunk % 8)) % 2 == 0 then
      redis.call('ZADD', fiqa.key(job, 'requeued'), chunk, chunk)
    end
  end
  if fiqa.number(job, 'done') == fiqa.number(job, 'chunks') then
    fiqa.finish(job, 'succeeded', nil, fiqa.clock())
  end
  fiqa.make_due(job)
end

if verb == 'pause' and state == 'running' then
  redis.call('HSET', hash, 'state', 'paused')
  fiqa.stop_clock(job, fiqa.clock())
  fiqa.make_idle(job)
elseif verb == 'resume' and (state == 'paused' or (state == 'running' and max_failed ~= '')) then
  redis.call('HSET', hash, 'state', 'running')
  if state == 'paused' then fiqa.start_clock(job, redis.call('HGET', hash, 'still_since'), fiqa.clock()) end
  if max_failed ~= '' then redis.call('HSET', hash, 'max_failed', max_failed) end
  fiqa.make_due(job)
elseif verb == 'resume' and state == 'failed' and max_failed ~= '' then
  reopen()
elseif verb == 'cancel' and (fiqa.is_open(job) or state == 'preparing') then
  fiqa.finish(job, 'cancelled', nil, fiqa.clock())
elseif verb == 'delete' and state and not fiqa.is_open(job) then
  redis.call('UNLINK', hash)
  for _, part in ipairs({'done', 'pace', 'manifest', 'results'}) do
    redis.call('UNLINK', fiqa.key(job, part))
  end
  redis.call('ZREM', fiqa.JOBS, job)
  redis.call('ZREM', fiqa.ENDED, job)
  redis.call('ZREM', fiqa.EXPIRING, job)
  redis.call('SREM', fiqa.PREPARING, job)
end
return state
