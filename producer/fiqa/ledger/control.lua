-- Pause, resume, cancel or delete a job. If the job's state does not allow it, nothing changes.
--
-- Keys: the job's hash and parts; jobs; due; leases; ended.
-- ARGV: 1 job id; 2 'pause', 'resume', 'cancel' or 'delete'; 3 submission token, or '' for any.
-- Reply: the state before; nil there is no such job; 'replaced' the job was replaced by a later submission.
local job, verb, submission = ARGV[1], ARGV[2], ARGV[3]
local hash = fiqa.key(job)
local state = redis.call('HGET', hash, 'state')
if state and submission ~= '' and redis.call('HGET', hash, 'submission') ~= submission then
  return 'replaced'
end
if verb == 'pause' and state == 'running' then
  redis.call('HSET', hash, 'state', 'paused')
  redis.call('ZREM', fiqa.DUE, job)
elseif verb == 'resume' and state == 'paused' then
  redis.call('HSET', hash, 'state', 'running')
  fiqa.make_due(job)
elseif verb == 'cancel' and (fiqa.is_open(job) or state == 'preparing') then
  fiqa.finish(job, 'cancelled', nil, fiqa.clock())
elseif verb == 'delete' and state and not fiqa.is_open(job) then
  redis.call('UNLINK', hash)
  for _, part in ipairs({'done', 'pace', 'manifest', 'results'}) do
    redis.call('UNLINK', fiqa.key(job, part))
  end
  redis.call('ZREM', fiqa.JOBS, job)
  redis.call('SREM', fiqa.ENDED, job)
  redis.call('SREM', fiqa.PREPARING, job)
end
return state
