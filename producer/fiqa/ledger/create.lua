-- Create a job in state `preparing`, or replace one that is `preparing`.
--
-- Keys: the job's hash and all its parts except `manifest` and `results`; jobs.
-- ARGV: 1 job id; 2 '1' to replace a job that is `preparing`, else '0'; then names and values of the job's hash.
-- Reply: 1 the job is created or replaced; 0 there is a job with this id.
local job, replace = ARGV[1], ARGV[2]
local hash = fiqa.key(job)
local state = redis.call('HGET', hash, 'state')
if state and not (replace == '1' and state == 'preparing') then return 0 end
-- This write comes first: a full Redis refuses only the first write of a script.
redis.call('HSET', hash, 'state', 'preparing', unpack(ARGV, 3))
if state then
  local given = {state = true}
  for i = 3, #ARGV, 2 do given[ARGV[i]] = true end
  for _, name in ipairs(redis.call('HKEYS', hash)) do
    if not given[name] then redis.call('HDEL', hash, name) end
  end
end
-- If Redis lost only the job's hash, the other keys would count as progress of the job that is recovered now.
for _, part in ipairs({
  'done', 'attempts', 'holders', 'requeued', 'in_flight', 'quarantined', 'wrong_answers', 'doubts', 'pace'
}) do
  redis.call('DEL', fiqa.key(job, part))
end
redis.call('SADD', fiqa.PREPARING, job)
redis.call('ZADD', fiqa.JOBS, redis.call('HGET', hash, 'created'), job)
return 1
