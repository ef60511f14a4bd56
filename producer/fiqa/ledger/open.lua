-- Let workers claim the chunks of a job that is `preparing`; or end it, if it had ended before it was recovered.
--
-- Keys: the job's hash and parts; due; leases; ended.
-- ARGV: 1 job id; 2 submission token; 3 number of chunks; 4 number of images;
--   5 the state in which the job had ended, or ''; 6 the reason, or '';
--   7 the sizes of the chunks, or ''.
-- Reply: the state before; nil there is no such job; 'replaced' the job was replaced by a later submission.
local job, submission, chunks, images, ended, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local sizes = ARGV[7]
local hash = fiqa.key(job)
local state = redis.call('HGET', hash, 'state')
if state ~= 'preparing' then return state end
if redis.call('HGET', hash, 'submission') ~= submission then return 'replaced' end
redis.call('HSET', hash, 'state', 'running', 'chunks', chunks, 'images', images, 'next', 0,
  'sizes', sizes)
redis.call('SREM', fiqa.PREPARING, job)
if fiqa.number(job, 'done') == tonumber(chunks) then ended = 'succeeded' end
if ended ~= '' then fiqa.finish(job, ended, reason ~= '' and reason, fiqa.clock()) end
fiqa.make_due(job)
return state
