-- The caller held an isolated chunk, and is alive: the item that it had in flight did not kill it.
--
-- Keys: the parts holders and in_flight of the job.
-- ARGV: 1 job id; 2 chunk; 3 fencing token.
-- Reply: nothing.
local job, chunk, token = ARGV[1], ARGV[2], ARGV[3]
local in_flight, suspect = fiqa.key(job, 'in_flight'), chunk .. ':suspect'
if redis.call('HGET', fiqa.key(job, 'holders'), chunk) == token then redis.call('HDEL', in_flight, chunk) end
local item = redis.call('HGET', in_flight, suspect)
if item and item:match(' (.*)$') == token then redis.call('HDEL', in_flight, suspect) end
