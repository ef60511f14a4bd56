-- Count an attempt that failed for a lasting reason, such as a lost manifest, on a chunk that the caller holds.
--
-- Keys: leases; the job's hash and its parts holders and wrong_answers.
-- ARGV: 1 job id; 2 chunk; 3 fencing token; 4 the caller's machine, without spaces.
-- Reply: the number of such attempts, and the machines on which they failed: 'number machine machine'; nil if the lease
--   is lost.
local job, chunk, token, machine = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not fiqa.holds(job, chunk, token) then return false end
local before = redis.call('HGET', fiqa.key(job, 'wrong_answers'), chunk) or '0'
local number, machines = before:match('^(%d+)(.*)$')
if not (machines .. ' '):find(' ' .. machine .. ' ', 1, true) then machines = machines .. ' ' .. machine end
local now = string.format('%d', number + 1) .. machines
redis.call('HSET', fiqa.key(job, 'wrong_answers'), chunk, now)
return now
