-- Count a page of the jobs. A page is short, so that Redis is not busy for long: a thousand jobs take about 2 ms.
--
-- Keys: jobs; the hash of each job.
-- ARGV: 1 and 2 the first and the last place of the page in the list of jobs.
-- Reply: the number of jobs in the page; when the oldest job was created that runs and has no claimed chunk yet, or 0;
--   then pairs: a state and its number of jobs; then a rank and its number of images that running jobs have left.
local page = redis.call('ZRANGE', fiqa.JOBS, ARGV[1], ARGV[2])
local states, left, oldest = {}, {}, nil
for _, job in ipairs(page) do
  local known = redis.call('HMGET', fiqa.key(job), 'state', 'rank', 'created', 'started', 'images', 'scored', 'no_face',
    'failed')
  local state = known[1]
  if state then states[state] = (states[state] or 0) + 1 end
  if state == 'running' then
    local rank, done = known[2] or '1', (known[6] or 0) + (known[7] or 0) + (known[8] or 0)
    left[rank] = (left[rank] or 0) + math.max(0, (known[5] or 0) - done)
    local created = not known[4] and tonumber(known[3])
    if created then oldest = math.min(oldest or created, created) end
  end
end
local reply = {#page, string.format('%.3f', oldest or 0)}
for state, number in pairs(states) do
  reply[#reply + 1], reply[#reply + 2] = state, number
end
reply[#reply + 1] = ''
for rank, images in pairs(left) do
  reply[#reply + 1], reply[#reply + 2] = rank, images
end
return reply
