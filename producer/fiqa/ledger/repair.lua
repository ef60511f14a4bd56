-- Let workers recreate some shards of a finished job, and set its counters to the sums over its other shards.
--
-- A job that had succeeded runs again. A job that was stopped stays stopped, and these chunks are no longer counted.
--
-- Keys: the job's hash and its parts; due; ended.
-- ARGV: 1 job id; 2 the number of done chunks that the caller has seen; 3 number of chunks to recreate; then these
--   chunks; then names of counters of the job's hash, and their numbers.
-- Reply: the state before; nil there is no such job; 'changed' another number of chunks is done. If the job is not
--   finished, nothing changes.
local job, seen, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local hash = fiqa.key(job)
local state, done, chunks, storage = unpack(redis.call('HMGET', hash, 'state', 'done', 'chunks', 'storage'))
if not state or state == 'preparing' or fiqa.is_open(job) then return state end
if (done or '0') ~= seen then return 'changed' end
for i = 4, 3 + number do redis.call('SETBIT', fiqa.key(job, 'done'), ARGV[i], 0) end
for _, name in ipairs(redis.call('HKEYS', hash)) do
  if name:match('^failed:') or name:match('^models:') then redis.call('HDEL', hash, name) end
end
for i = 4 + number, #ARGV, 2 do redis.call('HSET', hash, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', hash, 'done', seen - number)
if state == 'succeeded' then
  redis.call('HSET', hash, 'state', 'running', 'next', chunks)
  fiqa.start_clock(job, redis.call('HGET', hash, 'finished'), fiqa.clock())
  redis.call('HDEL', hash, 'finished')
  redis.call('PERSIST', hash)
  for _, part in ipairs({'done', 'manifest', 'results'}) do redis.call('PERSIST', fiqa.key(job, part)) end
  redis.call('HDEL', hash, 'last_error', 'summary_tries')
  redis.call('ZREM', fiqa.ENDED, job)
  redis.call('ZREM', fiqa.EXPIRING, job)
  for i = 4, 3 + number do redis.call('ZADD', fiqa.key(job, 'requeued'), ARGV[i], ARGV[i]) end
  fiqa.make_due(job)
elseif storage ~= fiqa.REDIS_STORAGE then
  redis.call('ZADD', fiqa.ENDED, fiqa.clock(), job)
end
return state
