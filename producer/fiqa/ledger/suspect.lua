-- A chunk has failures that may be the fault of the caller's machine. Decide whether they are the results of these
-- images. If not, release the chunk for other machines, without counting this attempt.
--
-- They are results if enough machines have seen them. If the caller's machine is the only one, they are results after
-- its third try. In any case they are results after a long time and three tries, since the other machines may never
-- claim the chunk.
--
-- Keys: leases; due; the job's hash and its parts attempts, holders, requeued, in_flight and doubts.
-- ARGV: 1 job id; 2 chunk; 3 fencing token; 4 name of the caller's machine; 5 number of machines that must have seen
--   it; 6 the error, for the status; 7 seconds after three tries have counted, in
--   which a machine that is alone does not need three tries again; 8 seconds after which three tries are enough in any
--   case; 9 maximum seconds to back off.
-- Reply: 'results', and 0; 'released', and the seconds for which the caller is to back off from the job;
--   'lost' if the lease is lost, and 0.
local job, chunk, token, machine, needed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local last_error, alone_s, patience_s, longest_s = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if not fiqa.holds(job, chunk, token) then return {'lost', 0} end
local doubts = fiqa.key(job, 'doubts')
local now = fiqa.clock()

-- What is known of this chunk: number of tries, time of the first and of the last try, and the machines that failed.
local tries, first, last, machines = (redis.call('HGET', doubts, chunk) or ''):match('^(%d+) (%S+) (%S+)(.*)$')
tries, first, last, machines = tonumber(tries or 0), tonumber(first or now), tonumber(last or 0), machines or ''
-- Several processes of a machine may try at once: that is one try.
if math.abs(now - last) >= 1 then tries, last = tries + 1, now end
if not (machines .. ' '):find(' ' .. machine .. ' ', 1, true) then machines = machines .. ' ' .. machine end
local _, seen = machines:gsub('%S+', '')

local results
if needed > 1 then
  results = seen >= needed or (tries >= 3 and now - first > patience_s)
else
  local before = tonumber(redis.call('HGET', doubts, 'alone:' .. machine) or 0)
  results = tries >= 3 or math.abs(now - before) < alone_s
  if results then redis.call('HSET', doubts, 'alone:' .. machine, now) end
end
if results then
  redis.call('HDEL', doubts, chunk)
  -- These machines were right, so they need not back off after their next failure of this kind.
  for witness in machines:gmatch('%S+') do
    local doubt = tonumber(redis.call('HGET', doubts, 'doubt:' .. witness) or 0)
    redis.call('HSET', doubts, 'doubt:' .. witness, math.max(-4, doubt - 2))
  end
  return {'results', 0}
end

redis.call('HSET', doubts, chunk, string.format('%d %.3f %.3f', tries, first, last) .. machines)
local doubt = needed > 1 and redis.call('HINCRBY', doubts, 'doubt:' .. machine, 1) or tries
redis.call('HDEL', fiqa.key(job, 'holders'), chunk)
redis.call('HINCRBY', fiqa.key(job, 'attempts'), chunk, -1)
redis.call('HDEL', fiqa.key(job, 'in_flight'), chunk)
redis.call('HSET', fiqa.key(job), 'last_error', last_error)
fiqa.requeue(job, chunk)
return {'released', doubt > 0 and math.min(longest_s, 2 ^ math.min(doubt, 30)) or 0}
