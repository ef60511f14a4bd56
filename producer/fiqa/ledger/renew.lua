-- Renew the lease of a chunk that the caller holds, and record the item in flight.
--
-- Keys: leases; the job's hash and its parts holders and in_flight.
-- ARGV: 1 job id; 2 chunk; 3 fencing token; 4 length of the lease in seconds; 5 index of the item in flight, or ''.
-- Reply: 1 the lease is renewed; 0 the lease is lost.
local job, chunk, token, lease_s, item = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not fiqa.is_open(job) or redis.call('HGET', fiqa.key(job, 'holders'), chunk) ~= token then return 0 end
-- XX: only if the lease exists. CH: return 1 if the time has changed, and it changes in each call.
if redis.call('ZADD', fiqa.LEASES, 'XX', 'CH', fiqa.clock() + lease_s, job .. ':' .. chunk) == 0 then return 0 end
if item ~= '' then redis.call('HSET', fiqa.key(job, 'in_flight'), chunk, item) end
return 1
