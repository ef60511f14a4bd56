"""Every Redis key and every Lua script of fiqa: here and nowhere else.

A chunk is unclaimed (not yet reached by `next`, or in `requeued`), leased, or done (its bit is set). Every change of
that is one Lua call, with Redis's own clock, so workers' clocks do not matter and no state is ever half written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from fiqa.contract import QUEUE
from fiqa.ledger.status import PACE_BUCKET_S, PACE_WINDOW_S

JOBS: Final = "fiqa:jobs"  # zset: job by creation
ENDED: Final = "fiqa:ended"  # set: finished jobs whose summary is not written yet
DUE: Final = "fiqa:due"  # zset: job with unclaimed chunks, by priority and then by how much of it was handed out
LEASES: Final = "fiqa:leases"  # zset: job:chunk by expiry
RECONCILER_LOCK: Final = "fiqa:reconciler"
HEARTBEAT: Final = "fiqa:heartbeat"  # there while any worker gives a sign of life
UNACKED: Final = "fiqa:tickets:unacked"  # kombu's: tickets that a worker holds
UNACKED_INDEX: Final = "fiqa:tickets:unacked_index"
UNACKED_MUTEX: Final = "fiqa:tickets:unacked_mutex"

LEASE_S: Final = 10.0
_LONGEST_LEASE_S: Final = 300.0
MAX_TICKETS: Final = 2000
MIN_IMAGES_TO_FAIL: Final = 1000
REDIS_STORAGE: Final = "redis"


def job_key(job_id: str, part: str = "") -> str:
    """The key of a job's hash, or of one of its parts.

    Parts: `done` bitmap by chunk; `attempts` hash chunk -> deliveries; `holders` hash chunk -> token of its claim;
    `requeued` zset of chunks given back; `in_flight` hash chunk -> the item touched last; `quarantined` hash
    chunk -> items not to touch; `pace` hash time -> images; and for a job whose storage is Redis `manifest` and
    `results`, hashes chunk -> gzipped JSONL.
    """
    return f"fiqa:job:{job_id}:{part}" if part else f"fiqa:job:{job_id}"


class Completion(StrEnum):
    """What came of counting a chunk."""

    COUNTED = "counted"
    COUNTED_BEFORE = "counted_before"
    JOB_IS_FINISHED = "job_is_finished"  # by this chunk
    JOB_IS_GONE = "job_is_gone"


# Shared by the scripts below. `vt` is how many images of a job were handed out, on a scale common to all jobs: the due
# job with the lowest is served next. That is start-time fair queueing (Goyal, Vin, Cheng 1997).
SHARED: Final = f"""
local JOBS, DUE, LEASES, ENDED = '{JOBS}', '{DUE}', '{LEASES}', '{ENDED}'
local RANK_SPAN = 1e12
local function key(job, part) return 'fiqa:job:' .. job .. (part and ':' .. part or '') end
local function clock() local t = redis.call('TIME'); return tonumber(t[1]) + tonumber(t[2]) / 1e6 end
local function field(job, name) return tonumber(redis.call('HGET', key(job), name) or '0') end
local function unclaimed(job)
  return field(job, 'chunks') - field(job, 'next') + redis.call('ZCARD', key(job, 'requeued'))
end
local function chunk_images(job) return math.ceil(field(job, 'images') / field(job, 'chunks')) end
local function make_due(job)
  if redis.call('HGET', key(job), 'state') ~= 'running' or unclaimed(job) == 0 then return end
  if redis.call('ZSCORE', DUE, job) then return end
  local floor = field(job, 'rank') * RANK_SPAN
  local first = redis.call('ZRANGEBYSCORE', DUE, floor, '(' .. (floor + RANK_SPAN), 'WITHSCORES', 'LIMIT', 0, 1)
  local vt = first[2] and tonumber(first[2]) - floor or field(job, 'vt')
  -- Whoever joins, or comes back with a chunk that was given back, has the place that who was served least had before
  -- its last chunk, which is under way: else a small job would wait for one more chunk of a large one.
  if first[1] and field(first[1], 'vt') == vt then vt = math.max(0, vt - chunk_images(first[1])) end
  redis.call('ZADD', DUE, floor + vt, job)
end
local function is_open(job)
  local state = redis.call('HGET', key(job), 'state')
  return state == 'running' or state == 'paused'
end
local function expire_with_job(job)
  local seconds = redis.call('TTL', key(job))
  if seconds < 0 then return end
  for _, part in ipairs({{'done', 'manifest', 'results'}}) do redis.call('EXPIRE', key(job, part), seconds) end
end
local function finish(job, state, reason, now)
  redis.call('HSET', key(job), 'state', state, 'finished', string.format('%.3f', now))
  if reason then redis.call('HSET', key(job), 'reason', reason) else redis.call('HDEL', key(job), 'reason') end
  redis.call('ZREM', DUE, job)
  for _, lease in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
    if lease:sub(1, #job + 1) == job .. ':' then redis.call('ZREM', LEASES, lease) end
  end
  for _, part in ipairs({{'attempts', 'holders', 'in_flight', 'quarantined', 'requeued'}}) do
    redis.call('DEL', key(job, part))
  end
  if redis.call('HGET', key(job), 'storage') == '{REDIS_STORAGE}' then
    redis.call('EXPIRE', key(job), field(job, 'keep_s'))
    expire_with_job(job)
  elseif field(job, 'chunks') > 0 then  -- one that was never opened has nothing to sum up
    redis.call('SADD', ENDED, job)
  end
end
local function release(job, chunk)
  redis.call('ZREM', LEASES, job .. ':' .. chunk)
  if not is_open(job) or redis.call('GETBIT', key(job, 'done'), chunk) == 1 then return end
  redis.call('ZADD', key(job, 'requeued'), chunk, chunk)
  make_due(job)
end
local function sweep(now)
  -- No lease is as long as this: the clock was set back.
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, now + {_LONGEST_LEASE_S}, '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', LEASES, now + {LEASE_S}, lease)
  end
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)) do
    local job, chunk = lease:match('^(.*):(%d+)$')
    release(job, chunk)
  end
end
local function holds(job, chunk, token)
  if not is_open(job) then return false end
  if redis.call('HGET', key(job, 'holders'), chunk) ~= token then return false end
  return redis.call('ZSCORE', LEASES, job .. ':' .. chunk)
end
"""

# -> 1 created, or entered anew where that is wanted; 0 there is one of this id
CREATE: Final = """
local job, replace = ARGV[1], ARGV[2]
local state = redis.call('HGET', key(job), 'state')
if state and not (replace == '1' and state == 'preparing') then return 0 end
-- First, since a full Redis refuses the first write only.
redis.call('HSET', key(job), 'state', 'preparing', unpack(ARGV, 3))
if state then
  local given = {state = true}
  for i = 3, #ARGV, 2 do given[ARGV[i]] = true end
  for _, name in ipairs(redis.call('HKEYS', key(job))) do
    if not given[name] then redis.call('HDEL', key(job), name) end
  end
end
-- Where Redis lost the job's hash alone, what is left of it would be taken for progress of the one that is recovered.
for _, part in ipairs({'done', 'attempts', 'holders', 'requeued', 'in_flight', 'quarantined', 'pace'}) do
  redis.call('DEL', key(job, part))
end
redis.call('ZADD', JOBS, redis.call('HGET', key(job), 'created'), job)
return 1
"""

# -> 1 a job that was `preparing` is cancelled, so that nobody opens it or submits it again, or it was cancelled before;
# 0 it is neither; nothing for an unknown job, 'replaced' for one that was entered anew since
ABANDON: Final = """
local job, submission = ARGV[1], ARGV[2]
local state = redis.call('HGET', key(job), 'state')
if not state then return nil end
if state == 'preparing' then
  if submission ~= '' and redis.call('HGET', key(job), 'submission') ~= submission then return 'replaced' end
  finish(job, 'cancelled', nil, clock())
  return 1
end
return state == 'cancelled' and 1 or 0
"""

# -> the state before; nothing for an unknown job, 'replaced' for one that was entered anew since
OPEN: Final = """
local job, submission, chunks, images, ended = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local state = redis.call('HGET', key(job), 'state')
if state ~= 'preparing' then return state end
if redis.call('HGET', key(job), 'submission') ~= submission then return 'replaced' end
redis.call('HSET', key(job), 'state', 'running', 'chunks', chunks, 'images', images, 'next', 0)
if field(job, 'done') == tonumber(chunks) then ended = 'succeeded' end
if ended ~= '' then finish(job, ended, ARGV[6] ~= '' and ARGV[6], clock()) end
make_due(job)
return state
"""

# -> the state before; nothing for an unknown job, 'replaced' for one that was entered anew since. What does not fit the
# state changes nothing.
CONTROL: Final = """
local job, verb, submission = ARGV[1], ARGV[2], ARGV[3]
local state = redis.call('HGET', key(job), 'state')
if state and submission ~= '' and redis.call('HGET', key(job), 'submission') ~= submission then return 'replaced' end
if verb == 'pause' and state == 'running' then
  redis.call('HSET', key(job), 'state', 'paused')
  redis.call('ZREM', DUE, job)
elseif verb == 'resume' and state == 'paused' then
  redis.call('HSET', key(job), 'state', 'running')
  make_due(job)
elseif verb == 'cancel' and (is_open(job) or state == 'preparing') then
  finish(job, 'cancelled', nil, clock())
elseif verb == 'delete' and state and not is_open(job) then
  for _, part in ipairs({'', ':done', ':pace', ':manifest', ':results'}) do
    redis.call('UNLINK', key(job) .. part)
  end
  redis.call('ZREM', JOBS, job)
  redis.call('SREM', ENDED, job)
end
return state
"""

# -> {} or {job, chunk, attempt, token, storage, quarantined}
CLAIM: Final = """
local now = clock()
sweep(now)
while true do
  local job = redis.call('ZRANGE', DUE, 0, 0)[1]
  if not job then return {} end
  local next, chunks = field(job, 'next'), field(job, 'chunks')
  local chunk = tonumber(redis.call('ZPOPMIN', key(job, 'requeued'))[1])
  if not chunk and next < chunks then
    chunk = next
    -- Where a job was recovered, thousands may be done already.
    if redis.call('GETBIT', key(job, 'done'), next) == 1 then
      chunk = math.max(next, redis.call('BITPOS', key(job, 'done'), 0, math.floor(next / 8)))
    end
    redis.call('HSET', key(job), 'next', math.min(chunk + 1, chunks))
  end
  if not chunk then
    redis.call('ZREM', DUE, job)
  else
    local vt = tonumber(redis.call('ZSCORE', DUE, job)) + chunk_images(job)
    redis.call('HSET', key(job), 'vt', string.format('%.0f', vt % RANK_SPAN))
    if unclaimed(job) > 0 then redis.call('ZADD', DUE, vt, job) else redis.call('ZREM', DUE, job) end
    if redis.call('GETBIT', key(job, 'done'), chunk) == 0 then
      redis.call('HSETNX', key(job), 'started', string.format('%.3f', now))
      redis.call('ZADD', LEASES, now + ARGV[1], job .. ':' .. chunk)
      local attempt = redis.call('HINCRBY', key(job, 'attempts'), chunk, 1)
      local token = redis.call('HINCRBY', key(job), 'claims', 1)
      redis.call('HSET', key(job, 'holders'), chunk, token)
      local in_flight = redis.call('HGET', key(job, 'in_flight'), chunk)
      local quarantined = redis.call('HGET', key(job, 'quarantined'), chunk) or ''
      if in_flight then
        quarantined = quarantined .. ' ' .. in_flight .. ':worker_crashed'
        redis.call('HSET', key(job, 'quarantined'), chunk, quarantined)
        redis.call('HDEL', key(job, 'in_flight'), chunk)
      end
      return {job, chunk, attempt, token, redis.call('HGET', key(job), 'storage'), quarantined}
    end
  end
end
"""

# -> 1 the lease is ours and runs on, 0 it is lost
RENEW: Final = """
local job, chunk, token = ARGV[1], ARGV[2], ARGV[3]
if not holds(job, chunk, token) then return 0 end
redis.call('ZADD', LEASES, clock() + ARGV[4], job .. ':' .. chunk)
if ARGV[5] ~= '' then redis.call('HSET', key(job, 'in_flight'), chunk, ARGV[5]) end
return 1
"""

# A chunk given back unharmed: the attempt does not count. After an error its lease runs on for a while, so that a
# storage that is down is not asked without a pause.
RELEASE: Final = """
local job, chunk, token, delay, last_error, skip = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
if not holds(job, chunk, token) then return 0 end
redis.call('HDEL', key(job, 'holders'), chunk)
redis.call('HINCRBY', key(job, 'attempts'), chunk, -1)
redis.call('HDEL', key(job, 'in_flight'), chunk)
if last_error ~= '' then redis.call('HSET', key(job), 'reason', last_error) end
if skip ~= '' then
  local before = redis.call('HGET', key(job, 'quarantined'), chunk) or ''
  redis.call('HSET', key(job, 'quarantined'), chunk, before .. ' ' .. skip)
end
if delay > 0 then
  redis.call('ZADD', LEASES, clock() + delay, job .. ':' .. chunk)
else
  release(job, chunk)
end
return 1
"""

# -> see Completion
COMPLETE: Final = f"""
local job, chunk = ARGV[1], ARGV[2]
if redis.call('EXISTS', key(job)) == 0 then return '{Completion.JOB_IS_GONE}' end
if redis.call('SETBIT', key(job, 'done'), chunk, 1) == 1 then return '{Completion.COUNTED_BEFORE}' end
redis.call('ZREM', LEASES, job .. ':' .. chunk)
redis.call('ZREM', key(job, 'requeued'), chunk)
for _, part in ipairs({{'attempts', 'holders', 'in_flight', 'quarantined'}}) do
  redis.call('HDEL', key(job, part), chunk)
end
local images = 0
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', key(job), ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'scored' or ARGV[i] == 'no_face' or ARGV[i] == 'failed' then images = images + ARGV[i + 1] end
end
local now = clock()
local bucket = math.floor(now / {PACE_BUCKET_S})
redis.call('HINCRBY', key(job, 'pace'), bucket, images)
redis.call('EXPIRE', key(job, 'pace'), {2 * PACE_WINDOW_S})
for _, old in ipairs(redis.call('HKEYS', key(job, 'pace'))) do
  if tonumber(old) < bucket - {PACE_WINDOW_S // PACE_BUCKET_S} then redis.call('HDEL', key(job, 'pace'), old) end
end
redis.call('HINCRBY', key(job), 'done', 1)
local state = redis.call('HGET', key(job), 'state')
if not is_open(job) then
  -- Stored a moment before the job was stopped: its summary, if that is written, lacks this chunk.
  if state ~= 'preparing' and redis.call('HGET', key(job), 'storage') ~= '{REDIS_STORAGE}' then
    redis.call('SADD', ENDED, job)
  end
  expire_with_job(job)
  return '{Completion.COUNTED}'
end
redis.call('HDEL', key(job), 'reason')
local failed = field(job, 'failed')
local images_done = field(job, 'scored') + field(job, 'no_face') + failed
if images_done >= {MIN_IMAGES_TO_FAIL} and failed > images_done * field(job, 'max_failed') then
  finish(job, 'failed', string.format('%d of the first %d images failed', failed, images_done), now)
elseif field(job, 'done') == field(job, 'chunks') then
  finish(job, 'succeeded', nil, now)
else
  return '{Completion.COUNTED}'
end
return '{Completion.JOB_IS_FINISHED}'
"""

# A job that was deleted must not come back as one hash of results.
STORE_ONCE: Final = """
local job, part, chunk, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', key(job)) == 0 then return 1 end
local stored = redis.call('HSETNX', key(job, part), chunk, data)
expire_with_job(job)
return stored
"""

# How many tickets the queue lacks. Tickets that a worker holds are not counted: one too many does nothing, and one
# that died with its worker must not be waited for.
MISSING_TICKETS: Final = f"""
sweep(clock())
local wanted = 0
for _, job in ipairs(redis.call('ZRANGE', DUE, 0, 99)) do
  wanted = wanted + unclaimed(job)
  if wanted >= {MAX_TICKETS} then break end
end
-- With nothing to do, a ticket that is held is worth nothing, and its worker may be dead: kombu would keep it an hour.
if wanted == 0 and redis.call('ZCARD', LEASES) == 0 then redis.call('DEL', '{UNACKED}', '{UNACKED_INDEX}') end
return math.max(0, math.min(wanted, {MAX_TICKETS}) - redis.call('LLEN', '{QUEUE}'))
"""


# -> 1 the lock is the caller's, 0 it is another's. One that holds for longer than it can have been asked for is from
# before the clock was set back.
TRY_RECONCILER_LOCK: Final = f"""
local left = redis.call('PTTL', '{RECONCILER_LOCK}')
if left > 0 and left <= tonumber(ARGV[1]) then return 0 end
redis.call('SET', '{RECONCILER_LOCK}', 1, 'PX', ARGV[1])
return 1
"""
