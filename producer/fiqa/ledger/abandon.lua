-- Cancel a job that is `preparing`, so that nobody opens it or submits it again.
--
-- Keys: the job's hash and parts; due; leases; ended.
-- ARGV: 1 job id; 2 submission token, or '' for any.
-- Reply: the state now; nil there is no such job; 'replaced' the job was replaced by a later submission.
local job, submission = ARGV[1], ARGV[2]
local hash = fiqa.key(job)
local state = redis.call('HGET', hash, 'state')
if state ~= 'preparing' then return state end
if submission ~= '' and redis.call('HGET', hash, 'submission') ~= submission then return 'replaced' end
fiqa.finish(job, 'cancelled', nil, fiqa.clock())
return 'cancelled'
