-- Count a chunk whose results are stored: once, however often this is called. End the job if this was its last chunk,
-- or if too many of its images failed.
--
-- Keys: leases; due; ended; the job's hash and all its parts.
-- ARGV: 1 job id; 2 chunk; then names of counters of the job's hash, and the numbers to add to them.
-- Reply: 'counted'; 'counted_before'; 'job_is_finished' this chunk ended the job; 'job_is_gone' there is no such job.
local job, chunk = ARGV[1], ARGV[2]
local hash = fiqa.key(job)
local before = redis.call('HMGET', hash, 'state', 'max_failed', 'chunks', 'still_since', 'last_error')
local state, max_failed, chunks, still_since, last_error = unpack(before)
if not state then return 'job_is_gone' end
if redis.call('SETBIT', fiqa.key(job, 'done'), chunk, 1) == 1 then return 'counted_before' end
redis.call('ZREM', fiqa.LEASES, job .. ':' .. chunk)
if redis.call('ZREM', fiqa.key(job, 'requeued'), chunk) == 1 and redis.call('ZSCORE', fiqa.DUE, job) then
  redis.call('DECR', fiqa.UNCLAIMED)
end
redis.call('HDEL', fiqa.key(job, 'attempts'), chunk)
redis.call('HDEL', fiqa.key(job, 'holders'), chunk)
local rare = {fiqa.key(job, 'in_flight'), fiqa.key(job, 'quarantined'), fiqa.key(job, 'wrong_answers'),
  fiqa.key(job, 'doubts')}
if redis.call('EXISTS', unpack(rare)) > 0 then
  for _, key in ipairs(rare) do redis.call('HDEL', key, chunk, chunk .. ':suspect') end
end
local images = 0
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', hash, ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'scored' or ARGV[i] == 'no_face' or ARGV[i] == 'failed' then images = images + ARGV[i + 1] end
end
local now = fiqa.clock()
local bucket = math.floor(now / fiqa.PACE_BUCKET_S)
local pace = fiqa.key(job, 'pace')
if redis.call('HINCRBY', pace, bucket, images) == images then  -- the first chunk in this bucket
  redis.call('EXPIRE', pace, 2 * fiqa.PACE_WINDOW_S)
  for _, old in ipairs(redis.call('HKEYS', pace)) do
    if tonumber(old) < bucket - fiqa.PACE_WINDOW_S / fiqa.PACE_BUCKET_S then redis.call('HDEL', pace, old) end
  end
end
local done = redis.call('HINCRBY', hash, 'done', 1)
if state ~= 'running' and state ~= 'paused' then
  -- The results were stored just before the job was stopped. If its summary is written already, it lacks this chunk.
  if state ~= 'preparing' and redis.call('HGET', hash, 'storage') ~= fiqa.REDIS_STORAGE then
    redis.call('ZADD', fiqa.ENDED, now, job)
  end
  fiqa.expire_with_job(job)
  return 'counted'
end
if last_error then redis.call('HDEL', hash, 'last_error') end
local scored, no_face, failed = unpack(redis.call('HMGET', hash, 'scored', 'no_face', 'failed'))
if still_since then fiqa.stop_clock(job, now) end  -- a chunk in flight is finished after the pause: it took that long
local images_done = scored + no_face + failed
if images_done >= fiqa.MIN_IMAGES_TO_FAIL and tonumber(failed) > images_done * max_failed then
  fiqa.finish(job, 'failed', string.format('%d of the first %d images failed', failed, images_done), now)
elseif done == tonumber(chunks) then
  fiqa.finish(job, 'succeeded', nil, now)
else
  return 'counted'
end
return 'job_is_finished'
