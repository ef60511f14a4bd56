-- Store a shard of a job whose storage is Redis, unless it is stored or the job is gone. Without the second condition a
-- deleted job would come back as a single hash of results.
--
-- Keys: the job's hash and its parts done, manifest and results.
-- ARGV: 1 job id; 2 'manifest' or 'results'; 3 chunk; 4 the shard.
-- Reply: 1 the shard is stored, or the job is gone; 0 a shard was there.
local job, part, chunk, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', fiqa.key(job)) == 0 then return 1 end
local stored = redis.call('HSETNX', fiqa.key(job, part), chunk, data)
fiqa.expire_with_job(job)
return stored
