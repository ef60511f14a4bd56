-- Claim one chunk of the due job with the highest priority; among several, of the one with the smallest virtual time.
--
-- Skip the jobs from which the caller backs off, and the jobs with another fingerprint than the caller's. If the
-- caller's machine has failed a chunk before (suspect.lua), claim it only if the job has no other.
--
-- Keys: due; leases; expired; the hash of the job, and its parts done, attempts, holders, requeued, in_flight,
--   quarantined and doubts.
-- ARGV: 1 length of the lease in seconds; 2 name of the caller's machine, or ''; 3 its fingerprint, or '' to fit any
--   job; 4 the id of its worker, or ''; then the ids of the jobs that it backs off from.
-- Reply: number of jobs that were skipped, and ids of those with another fingerprint. Then, if a chunk is claimed: job
--   id, chunk, attempt, fencing token, storage URL, the quarantined items as 'index:code index:code', the sizes of the
--   job's chunks, the job's fingerprint, and its options as JSON.
local lease_s, machine, fingerprint, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local avoided = {}
for i = 5, #ARGV do avoided[ARGV[i]] = true end
local now = fiqa.clock()
fiqa.sweep(now)

-- The first requeued chunk that this machine has not failed; if there is none, and `any`, the first of all.
local function requeued_for(requeued, job, any)
  local first = redis.call('ZRANGE', requeued, 0, 31)
  if machine == '' then return first[1] end
  for i, doubt in ipairs(redis.call('HMGET', fiqa.key(job, 'doubts'), unpack(first))) do
    if not doubt or not (doubt .. ' '):find(' ' .. machine .. ' ', 1, true) then return first[i] end
  end
  return any and first[1]
end

-- The quarantined items of a chunk. If an item is still in flight, the worker that held the chunk before may have died
-- on it, or may only be cut off from Redis: the item is suspect. If the next worker leaves the same item in flight, and
-- the first one has not come back by then (survived.lua), the item joins the quarantined ones.
local function quarantine(job, chunk)
  local in_flight, quarantined = fiqa.key(job, 'in_flight'), fiqa.key(job, 'quarantined')
  if redis.call('EXISTS', in_flight, quarantined) == 0 then return '' end
  local items, item = redis.call('HGET', quarantined, chunk) or '', redis.call('HGET', in_flight, chunk)
  if item then
    local suspect = chunk .. ':suspect'
    if (redis.call('HGET', in_flight, suspect) or ''):match('^%d+') == item then
      items = items .. ' ' .. item .. ':worker_crashed'
      redis.call('HSET', quarantined, chunk, items)
      redis.call('HDEL', in_flight, suspect)
    else
      redis.call('HSET', in_flight, suspect, item .. ' ' .. (redis.call('HGET', fiqa.key(job, 'holders'), chunk) or ''))
    end
    redis.call('HDEL', in_flight, chunk)
  end
  return items
end

-- Whether the job must keep its fingerprint: a chunk of it is done or in flight.
local function is_pinned(job)
  if fiqa.number(job, 'done') > 0 then return true end
  for _, chunk in ipairs(redis.call('HKEYS', fiqa.key(job, 'holders'))) do
    if redis.call('ZSCORE', fiqa.LEASES, job .. ':' .. chunk) then return true end
  end
  return false
end

local place, unfit = 0, {}
while true do
  local job, score = unpack(redis.call('ZRANGE', fiqa.DUE, place, place, 'WITHSCORES'))
  if not job then
    if place == 0 then redis.call('DEL', fiqa.UNCLAIMED) end
    return {place, unfit}
  end
  local hash, requeued, done = fiqa.key(job), fiqa.key(job, 'requeued'), fiqa.key(job, 'done')
  local known = redis.call(
    'HMGET', hash, 'next', 'chunks', 'images', 'started', 'storage', 'sizes', 'fingerprint', 'options'
  )
  local next, chunks, images = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
  local started, storage, sizes, pinned = known[4], known[5], known[6] or '', known[7] or ''
  local options = known[8] or '{}'
  local fits = fingerprint == '' or pinned == '' or pinned == '*' or pinned == fingerprint
  if not fits and not is_pinned(job) then pinned, fits = '', true end
  if avoided[job] or not fits then
    place = place + 1
    if not fits then unfit[#unfit + 1] = job end
  else
    local left = chunks - next + redis.call('ZCARD', requeued)
    local before = left
    local chunk = left > chunks - next and requeued_for(requeued, job, next >= chunks)
    if chunk then
      redis.call('ZREM', requeued, chunk)
      chunk, left = tonumber(chunk), left - 1
    elseif next < chunks then
      chunk = next
      -- If the job was recovered, the next thousands may be done. Skip all of them at once.
      if redis.call('GETBIT', done, next) == 1 then
        chunk = math.max(next, redis.call('BITPOS', done, 0, math.floor(next / 8)))
      end
      local after = math.min(chunk + 1, chunks)
      left = left - (after - next)
      next = after
      -- The bitmap has whole bytes, and ends with its last 1: there may be a 0 that is not a chunk.
      if chunk >= chunks then chunk = nil end
    end
    redis.call('DECRBY', fiqa.UNCLAIMED, before - left)
    if not chunk then
      redis.call('HSET', hash, 'next', next)
      redis.call('ZREM', fiqa.DUE, job)
    else
      score = score + math.ceil(images / chunks)
      redis.call('HSET', hash, 'next', next, 'vt', string.format('%.0f', score % fiqa.RANK_SPAN))
      if left > 0 then
        redis.call('ZADD', fiqa.DUE, score, job)
      else
        redis.call('ZREM', fiqa.DUE, job)
      end
      if redis.call('GETBIT', done, chunk) == 0 then
        if not started then redis.call('HSET', hash, 'started', string.format('%.3f', now)) end
        if pinned == '' and fingerprint ~= '' then redis.call('HSET', hash, 'fingerprint', fingerprint) end
        redis.call('ZADD', fiqa.LEASES, now + lease_s, job .. ':' .. chunk)
        local attempt = redis.call('HINCRBY', fiqa.key(job, 'attempts'), chunk, 1)
        -- Redis runs one script at a time, and each takes more than a microsecond. A counter would hand out the same
        -- token again after a failover that lost a claim.
        local token = string.format('%.0f', now * 1e6)
        if worker ~= '' then token = token .. '@' .. worker end  -- for `fiqa workers`
        local items = quarantine(job, chunk)
        redis.call('HSET', fiqa.key(job, 'holders'), chunk, token)
        if pinned == '' then pinned = fingerprint end
        return {place, unfit, job, chunk, attempt, token, storage, items, sizes, pinned, options}
      end
    end
  end
end
