-- Renew the lease of a chunk that the caller holds, and note the item in flight.
--
-- Keys: leases; the job's hash and its parts holders and in_flight.
-- ARGV: 1 job id; 2 chunk; 3 fencing token; 4 length of the lease in seconds; 5 index of the item in flight, or ''.
-- Reply: 1 the lease is renewed; 0 the lease is lost.
local job, chunk, token, lease_s, item = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not fiqa.holds(job, chunk, token) then return 0 end
redis.call('ZADD', fiqa.LEASES, fiqa.clock() + lease_s, job .. ':' .. chunk)
if item ~= '' then redis.call('HSET', fiqa.key(job, 'in_flight'), chunk, item) end
return 1
