"""The job ledger in Redis: every key and every Lua script of fiqa is here and nowhere else.

A chunk is unclaimed (not yet reached by `next`, or in `returned`), leased, or done (its bit is set). Every change of
that is one Lua call, with Redis's own clock, so workers' clocks do not matter and no state is ever half written.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from fiqa_producer.contract import QUEUE, ErrorCode, ImageResult, JobSpec, JobState, Priority, Status
from fiqa_producer.errors import JobStateError, RedisUnavailableError, SettingsError, UnknownJobError
from fiqa_producer.status import PACE_BUCKET_S, PACE_WINDOW_S, JobStatus, read_status

if TYPE_CHECKING:
    from redis.commands.core import Script

JOBS: Final = "fiqa:jobs"  # zset: job by creation
ENDED: Final = "fiqa:ended"  # set: finished jobs whose summary is not written yet
DUE: Final = "fiqa:due"  # zset: job with unclaimed chunks, by priority and then by how much of it was handed out
LEASES: Final = "fiqa:leases"  # zset: job:chunk by expiry
RECONCILER_LOCK: Final = "fiqa:reconciler"
UNACKED: Final = "fiqa:tickets:unacked"  # kombu's: tickets that a worker holds
UNACKED_INDEX: Final = "fiqa:tickets:unacked_index"
UNACKED_MUTEX: Final = "fiqa:tickets:unacked_mutex"

LEASE_S: Final = 10.0
LEASES_RENEWED_EVERY_S: Final = 1.5
_LONGEST_LEASE_S: Final = 300.0
MAX_TICKETS: Final = 2000
ALL: Final = 1 << 62  # as a limit of jobs
CAREFUL_FROM_ATTEMPT: Final = 3
MIN_IMAGES_TO_FAIL: Final = 1000
REDIS_HOME: Final = "redis"

_JOB_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_RANKS: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def job_key(job_id: str, part: str = "") -> str:
    """The key of a job's hash, or of one of its parts.

    Parts: `done` bitmap by chunk; `attempts` hash chunk -> deliveries; `holders` hash chunk -> token of its claim;
    `returned` zset of chunks given back; `notes` hash chunk -> the item touched last; `skips` hash chunk -> items not
    to touch; `pace` hash time -> images; and for a job whose home is Redis `manifest` and `results`, hashes chunk ->
    gzipped JSONL.
    """
    return f"fiqa:job:{job_id}:{part}" if part else f"fiqa:job:{job_id}"


def new_job_id() -> str:
    """A job id that sorts by time and is safe in a key, a path and a URL."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def connection_options(redis_url: str) -> dict[str, Any]:
    """How every connection to Redis is watched, the ledger's and the broker's."""
    options = {"socket_connect_timeout": 5, "socket_timeout": 10, "health_check_interval": 30}
    # A Unix socket knows no keep-alive, and redis-py takes no such option for one.
    return options if redis_url.startswith("unix://") else {**options, "socket_keepalive": True}


@dataclass(frozen=True, slots=True)
class Claim:
    """One chunk that this worker holds until its lease runs out.

    Attributes:
        attempt: which delivery of the chunk this is, from 1; one that was given back unharmed is not counted.
        token: of this delivery alone; whoever held the chunk before can do nothing more with it.
        skips: items by index that are not touched again, since they killed a worker or hung in it.
    """

    job_id: str
    chunk: int
    attempt: int
    token: int
    home: str
    skips: Mapping[int, ErrorCode]

    @property
    def careful(self) -> bool:
        """Whether earlier deliveries died, so that each item is noted before it is touched."""
        return self.attempt >= CAREFUL_FROM_ATTEMPT


class Completion(StrEnum):
    """What came of counting a chunk."""

    COUNTED = "counted"
    COUNTED_BEFORE = "counted_before"
    JOB_IS_FINISHED = "job_is_finished"  # by this chunk
    JOB_IS_GONE = "job_is_gone"


class Control(StrEnum):
    """What can be done to a job."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    DELETE = "delete"


_ALLOWED_IN: Final = {
    Control.PAUSE: {JobState.RUNNING, JobState.PAUSED},
    Control.RESUME: {JobState.PAUSED, JobState.RUNNING},
    Control.CANCEL: {JobState.PREPARING, JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED},
    Control.DELETE: {JobState.PREPARING, JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED},
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How the images of a chunk ended.

    Attributes:
        models: images by the names of the detector and the quality model, with a slash between.
    """

    scored: int
    no_face: int
    faces: int
    failed: Mapping[ErrorCode, int]
    models: Mapping[str, int]

    @classmethod
    def of(cls, results: Sequence[ImageResult]) -> Self:
        """What these results add up to."""
        return cls(
            scored=sum(result.status is Status.SCORED for result in results),
            no_face=sum(result.status is Status.NO_FACE for result in results),
            faces=sum(len(result.faces) for result in results),
            failed=Counter(result.error.code for result in results if result.error),
            models=Counter(f"{result.detector}/{result.quality_model}" for result in results),
        )


# Shared by the scripts below. `vt` is how many images of a job were handed out, on a scale common to all jobs: the due
# job with the lowest is served next, and a new job starts at the lowest there is.
_LUA = f"""
local JOBS, DUE, LEASES, ENDED = '{JOBS}', '{DUE}', '{LEASES}', '{ENDED}'
local RANK_SPAN = 1e12
local function key(job, part) return 'fiqa:job:' .. job .. (part and ':' .. part or '') end
local function clock() local t = redis.call('TIME'); return tonumber(t[1]) + tonumber(t[2]) / 1e6 end
local function field(job, name) return tonumber(redis.call('HGET', key(job), name) or '0') end
local function unclaimed(job)
  return field(job, 'chunks') - field(job, 'next') + redis.call('ZCARD', key(job, 'returned'))
end
local function make_due(job)
  if redis.call('HGET', key(job), 'state') ~= 'running' or unclaimed(job) == 0 then return end
  if redis.call('ZSCORE', DUE, job) then return end
  local floor = field(job, 'rank') * RANK_SPAN
  local first = redis.call('ZRANGEBYSCORE', DUE, floor, '(' .. (floor + RANK_SPAN), 'WITHSCORES', 'LIMIT', 0, 1)
  -- Whoever joins, or comes back with a chunk that was given back, has the same place as who was served least.
  local vt = first[2] and tonumber(first[2]) - floor or field(job, 'vt')
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
  for _, part in ipairs({{'attempts', 'holders', 'notes', 'skips', 'returned'}}) do
    redis.call('DEL', key(job, part))
  end
  if redis.call('HGET', key(job), 'home') ~= '{REDIS_HOME}' then
    redis.call('SADD', ENDED, job)
  else
    redis.call('EXPIRE', key(job), field(job, 'keep_s'))
    expire_with_job(job)
  end
end
local function give_back(job, chunk)
  redis.call('ZREM', LEASES, job .. ':' .. chunk)
  if not is_open(job) or redis.call('GETBIT', key(job, 'done'), chunk) == 1 then return end
  redis.call('ZADD', key(job, 'returned'), chunk, chunk)
  make_due(job)
end
local function sweep(now)
  -- No lease is as long as this: the clock was set back.
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, now + {_LONGEST_LEASE_S}, '+inf', 'LIMIT', 0, 100)) do
    redis.call('ZADD', LEASES, now + {LEASE_S}, lease)
  end
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, 100)) do
    local job, chunk = lease:match('^(.*):(%d+)$')
    give_back(job, chunk)
  end
end
local function holds(job, chunk, token)
  if not is_open(job) then return false end
  if redis.call('HGET', key(job, 'holders'), chunk) ~= token then return false end
  return redis.call('ZSCORE', LEASES, job .. ':' .. chunk)
end
"""

# -> 1 created, 0 there is one of this id
_CREATE = """
local job = ARGV[1]
if redis.call('EXISTS', key(job)) == 1 then return 0 end
-- First, since a full Redis refuses the first write only.
redis.call('HSET', key(job), 'state', 'preparing', unpack(ARGV, 2))
-- Where Redis lost the job's hash alone, what is left of it would be taken for progress of the one that is recovered.
for _, part in ipairs({'done', 'attempts', 'holders', 'returned', 'notes', 'skips', 'pace'}) do
  redis.call('DEL', key(job, part))
end
redis.call('ZADD', JOBS, redis.call('HGET', key(job), 'created'), job)
return 1
"""

# -> the state before; nothing for an unknown job
_OPEN = """
local job, chunks, images, ended = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local state = redis.call('HGET', key(job), 'state')
if state ~= 'preparing' then return state end
redis.call('HSET', key(job), 'state', 'running', 'chunks', chunks, 'images', images, 'next', 0)
if field(job, 'done') == tonumber(chunks) then ended = 'succeeded' end
if ended ~= '' then finish(job, ended, ARGV[5] ~= '' and ARGV[5], clock()) end
make_due(job)
return state
"""

# -> the state before; nothing for an unknown job. What does not fit that state changes nothing.
_CONTROL = """
local job, verb = ARGV[1], ARGV[2]
local state = redis.call('HGET', key(job), 'state')
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

# -> {} or {job, chunk, attempt, token, home, skips}
_CLAIM = """
local now = clock()
sweep(now)
while true do
  local job = redis.call('ZRANGE', DUE, 0, 0)[1]
  if not job then return {} end
  local next, chunks = field(job, 'next'), field(job, 'chunks')
  local chunk = tonumber(redis.call('ZPOPMIN', key(job, 'returned'))[1])
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
    local vt = tonumber(redis.call('ZSCORE', DUE, job)) + math.ceil(field(job, 'images') / chunks)
    redis.call('HSET', key(job), 'vt', string.format('%.0f', vt % RANK_SPAN))
    if unclaimed(job) > 0 then redis.call('ZADD', DUE, vt, job) else redis.call('ZREM', DUE, job) end
    if redis.call('GETBIT', key(job, 'done'), chunk) == 0 then
      redis.call('HSETNX', key(job), 'started', string.format('%.3f', now))
      redis.call('ZADD', LEASES, now + ARGV[1], job .. ':' .. chunk)
      local attempt = redis.call('HINCRBY', key(job, 'attempts'), chunk, 1)
      local token = redis.call('HINCRBY', key(job), 'claims', 1)
      redis.call('HSET', key(job, 'holders'), chunk, token)
      local note = redis.call('HGET', key(job, 'notes'), chunk)
      local skips = redis.call('HGET', key(job, 'skips'), chunk) or ''
      if note then
        skips = skips .. ' ' .. note .. ':worker_crashed'
        redis.call('HSET', key(job, 'skips'), chunk, skips)
        redis.call('HDEL', key(job, 'notes'), chunk)
      end
      return {job, chunk, attempt, token, redis.call('HGET', key(job), 'home'), skips}
    end
  end
end
"""

# -> 1 the lease is ours and runs on, 0 it is lost
_RENEW = """
local job, chunk, token = ARGV[1], ARGV[2], ARGV[3]
if not holds(job, chunk, token) then return 0 end
redis.call('ZADD', LEASES, clock() + ARGV[4], job .. ':' .. chunk)
if ARGV[5] ~= '' then redis.call('HSET', key(job, 'notes'), chunk, ARGV[5]) end
return 1
"""

# A chunk given back unharmed: the attempt does not count. After a trouble its lease runs on for a while, so that a home
# that is down is not asked without a pause.
_RELEASE = """
local job, chunk, token, delay, trouble, skip = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
if not holds(job, chunk, token) then return 0 end
redis.call('HDEL', key(job, 'holders'), chunk)
redis.call('HINCRBY', key(job, 'attempts'), chunk, -1)
redis.call('HDEL', key(job, 'notes'), chunk)
if trouble ~= '' then redis.call('HSET', key(job), 'reason', trouble) end
if skip ~= '' then
  redis.call('HSET', key(job, 'skips'), chunk, (redis.call('HGET', key(job, 'skips'), chunk) or '') .. ' ' .. skip)
end
if delay > 0 then
  redis.call('ZADD', LEASES, clock() + delay, job .. ':' .. chunk)
else
  give_back(job, chunk)
end
return 1
"""

# -> see Completion
_COMPLETE = f"""
local job, chunk = ARGV[1], ARGV[2]
if redis.call('EXISTS', key(job)) == 0 then return '{Completion.JOB_IS_GONE}' end
if redis.call('SETBIT', key(job, 'done'), chunk, 1) == 1 then return '{Completion.COUNTED_BEFORE}' end
redis.call('ZREM', LEASES, job .. ':' .. chunk)
redis.call('ZREM', key(job, 'returned'), chunk)
for _, part in ipairs({{'attempts', 'holders', 'notes', 'skips'}}) do redis.call('HDEL', key(job, part), chunk) end
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
  if state ~= 'preparing' and redis.call('HGET', key(job), 'home') ~= '{REDIS_HOME}' then
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
_STORE_ONCE = """
local job, part, chunk, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', key(job)) == 0 then return 1 end
local stored = redis.call('HSETNX', key(job, part), chunk, data)
expire_with_job(job)
return stored
"""

# How many tickets the queue lacks. Tickets that a worker holds are not counted: one too many does nothing, and one
# that died with its worker must not be waited for.
_MISSING_TICKETS = f"""
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
_RECONCILER_LOCK = f"""
local left = redis.call('PTTL', '{RECONCILER_LOCK}')
if left > 0 and left <= tonumber(ARGV[1]) then return 0 end
redis.call('SET', '{RECONCILER_LOCK}', 1, 'PX', ARGV[1])
return 1
"""


class Ledger:
    """What Redis knows of every job. Safe to share between threads.

    Every method raises RedisUnavailableError where Redis does not answer or refuses.
    """

    def __init__(self, redis_url: str) -> None:
        """Connects at first use.

        Raises:
            SettingsError: it is no Redis URL.
        """
        try:
            self._where = _redacted(redis_url)
            # Any: redis-py types every answer as the union of all modes that a connection can be in.
            self.redis: Any = redis.Redis.from_url(
                redis_url,
                # A connection that was cut is made anew. A Redis that hangs is not asked four times, 10 s each.
                retry=Retry(ExponentialBackoff(cap=1, base=0.1), 3, supported_errors=(redis.ConnectionError,)),
                **connection_options(redis_url),
            )
            # Not connected, and thrown away: only here does redis-py say that it does not know an option.
            pool = self.redis.connection_pool
            pool.connection_class(**pool.connection_kwargs)
            # A database that is no number is 0 to redis-py, and a traceback to Celery.
            if not redis_url.startswith("unix://"):
                int(urlsplit(redis_url).path.strip("/") or 0)
        except (TypeError, ValueError):
            # Not in redis-py's words: they quote a password that holds a slash.
            raise SettingsError(
                "FIQA_REDIS_URL is not a Redis URL: redis://user:password@host:port/database, special characters in"
                " user and password percent-encoded"
            ) from None
        self._create = self._script(_CREATE)
        self._open = self._script(_OPEN)
        self._control = self._script(_CONTROL)
        self._claim = self._script(_CLAIM)
        self._renew = self._script(_RENEW)
        self._release = self._script(_RELEASE)
        self._complete = self._script(_COMPLETE)
        self._store_once = self._script(_STORE_ONCE)
        self._missing_tickets = self._script(_MISSING_TICKETS)
        self._reconciler_lock = self._script(_RECONCILER_LOCK)

    def _script(self, body: str) -> Script:
        script: Script = self.redis.register_script(_LUA + body)
        return script

    def close(self) -> None:
        self.redis.close()

    def ping(self) -> None:
        with self.errors():
            self.redis.ping()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn redis-py's errors into one line that says what to do."""
        try:
            yield
        except redis.AuthenticationError as error:
            raise RedisUnavailableError(
                f"Redis at {self._where} refuses the login: check user and password in FIQA_REDIS_URL"
            ) from error
        except redis.ConnectionError as error:
            raise RedisUnavailableError(
                f"cannot reach Redis at {self._where} ({_reason(error)}): start it, or set FIQA_REDIS_URL"
            ) from error
        except redis.TimeoutError as error:
            raise RedisUnavailableError(f"Redis at {self._where} does not answer in time: try again") from error
        except redis.OutOfMemoryError as error:
            raise RedisUnavailableError(
                f"Redis at {self._where} is full: raise its maxmemory, or keep jobs elsewhere with FIQA_HOME"
            ) from error
        except redis.RedisError as error:
            raise RedisUnavailableError(f"Redis at {self._where} refused: {_reason(error)}") from error

    # The producer's side

    def now(self) -> float:
        """Redis's own clock, Unix seconds."""
        with self.errors():
            seconds, micros = self.redis.time()
        return float(seconds) + float(micros) / 1e6

    def create(self, spec: JobSpec, *, home: str) -> None:
        """Enter a job in state `preparing`; nobody works on it before `open`.

        Raises:
            JobStateError: there is a job of this id.
        """
        fields: dict[str, str | int | float] = {
            "name": spec.name or "",
            "priority": spec.priority,
            "rank": _RANKS[spec.priority],
            "home": home,
            "created": f"{spec.created:.3f}",
            "parent": spec.parent or "",
            "max_failed": spec.max_failed,
            "keep_s": int(spec.keep_s),
            # Where the first token is drawn from: after a recovery, none of before is given out again.
            "claims": secrets.randbits(40),
        }
        with self.errors():
            created = self._create(args=[spec.id, *chain.from_iterable(fields.items())])
        if not created:
            raise JobStateError(f"job {spec.id} is in Redis already: `fiqa status {spec.id}` shows it")

    def open(
        self, job_id: str, *, chunks: int, images: int, ended: JobState | None = None, reason: str | None = None
    ) -> None:
        """Let workers at a job whose manifest is complete; or enter one that had ended before it was recovered.

        Raises:
            UnknownJobError: no such job.
            JobStateError: it is not `preparing`.
        """
        with self.errors():
            state = self._open(args=[job_id, chunks, images, ended or "", reason or ""])
        if state is None:
            raise _no_job(job_id)
        if state.decode() != JobState.PREPARING:
            raise JobStateError(f"job {job_id} is {state.decode()}: only one that is `preparing` can be opened")

    def control(self, job_id: str, control: Control) -> None:
        """Pause, resume, cancel or delete a job; a second time does nothing. In force when it returns.

        Raises:
            UnknownJobError: no such job.
            JobStateError: its state does not allow it.
        """
        check_job_id(job_id)
        with self.errors():
            answer = self._control(args=[job_id, control])
        if answer is None:
            raise _no_job(job_id)
        state = JobState(answer.decode())
        if state not in _ALLOWED_IN[control]:
            first = f": `fiqa cancel {job_id}` first" if control is Control.DELETE else ""
            raise JobStateError(f"job {job_id} is {state}: cannot {control} it{first}")

    def ended(self) -> list[str]:
        """Finished jobs whose summary is not written yet."""
        with self.errors():
            return sorted(raw.decode() for raw in self.redis.smembers(ENDED))

    def summarised(self, job_id: str) -> None:
        """A job's summary is written."""
        with self.errors():
            self.redis.srem(ENDED, job_id)

    def status(self, job_id: str) -> JobStatus:
        """One round trip, whatever the job's size.

        Raises:
            UnknownJobError: no such job.
        """
        statuses = self._statuses([check_job_id(job_id)])
        if not statuses:
            raise _no_job(job_id)
        return statuses[0]

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """The newest jobs first."""
        with self.errors():
            ids = [raw.decode() for raw in self.redis.zrange(JOBS, 0, limit - 1, desc=True)]
        found = self._statuses(ids)
        # Those whose time was over: Redis drops their keys by itself, and no entry of a set.
        gone = set(ids) - {status.id for status in found}
        if gone:
            with self.errors():
                self.redis.zrem(JOBS, *gone)
        return found

    def _statuses(self, job_ids: list[str]) -> list[JobStatus]:
        with self.errors(), self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for job_id in job_ids:
                pipe.hgetall(job_key(job_id))
                pipe.hgetall(job_key(job_id, "pace"))
            (seconds, micros), *hashes = pipe.execute()
        now = seconds + micros / 1e6
        return [
            read_status(job_id, fields, pace, now)
            for job_id, fields, pace in zip(job_ids, hashes[::2], hashes[1::2], strict=True)
            if fields
        ]

    def done_chunks(self, job_id: str) -> list[int]:
        """The chunks whose results are complete, in order."""
        with self.errors():
            bitmap = self.redis.get(job_key(job_id, "done")) or b""
        return [8 * i + bit for i, byte in enumerate(bitmap) if byte for bit in range(8) if byte & (0x80 >> bit)]

    # The worker's side

    def claim(self) -> Claim | None:
        """Take one chunk of whatever is due: by priority, then of the job that was served least."""
        with self.errors():
            answer = self._claim(args=[LEASE_S])
        if not answer:
            return None
        job, chunk, attempt, token, home, skips = answer
        pairs = (pair.split(":") for pair in skips.decode().split())
        skipped = {int(index): ErrorCode(code) for index, code in pairs}
        return Claim(job.decode(), int(chunk), int(attempt), int(token), home.decode(), skipped)

    def waiting_tickets(self) -> int:
        """Tickets in the queue that no worker has taken."""
        with self.errors():
            return int(self.redis.llen(QUEUE))

    def renew(self, claim: Claim, *, note: int | None = None) -> bool:
        """Keep the chunk for another LEASE_S; False: it is no longer ours.

        Args:
            claim: the chunk.
            note: the index of the item that will be touched next; it is skipped if this worker dies of it.
        """
        with self.errors():
            return bool(self._renew(args=[*_held(claim), LEASE_S, "" if note is None else note]))

    def release(self, claim: Claim, *, delay_s: float = 0.0, trouble: str = "", hung: int | None = None) -> None:
        """Give the chunk back; this attempt does not count.

        Args:
            claim: the chunk.
            delay_s: it is handed out again once this has passed.
            trouble: what kept it from being done; shown as the job's reason until a chunk is done.
            hung: the index of an item that took too long; it is skipped from now on.
        """
        skip = "" if hung is None else f"{hung}:{ErrorCode.TIME_LIMIT}"
        with self.errors():
            self._release(args=[*_held(claim), delay_s, trouble, skip])

    def complete(self, job_id: str, chunk: int, counts: Counts) -> Completion:
        """Count a chunk whose results are stored, once, whoever calls and how often.

        A chunk of a job that was stopped meanwhile is counted as well: its results are there.
        """
        pairs: list[str | int] = ["scored", counts.scored, "no_face", counts.no_face, "faces", counts.faces]
        pairs += ["failed", sum(counts.failed.values())]
        for code, number in counts.failed.items():
            pairs += [f"failed:{code}", number]
        for models, number in counts.models.items():
            pairs += [f"models:{models}", number]
        with self.errors():
            return Completion(self._complete(args=[job_id, chunk, *pairs]).decode())

    def store_once(self, job_id: str, part: str, chunk: int, data: bytes) -> bool:
        """Store a shard of a job whose home is Redis, unless it is there or the job is gone; False: it was there."""
        with self.errors():
            return bool(self._store_once(args=[job_id, part, chunk, data]))

    def missing_tickets(self) -> int:
        """How many tickets to publish so that every unclaimed chunk, up to MAX_TICKETS, has one waiting."""
        with self.errors():
            return int(self._missing_tickets())

    def try_reconciler_lock(self, *, seconds: float) -> bool:
        """Whether this process is the one to reconcile for the next `seconds`."""
        with self.errors():
            return bool(self._reconciler_lock(args=[int(seconds * 1000)]))


def _held(claim: Claim) -> tuple[str, int, int]:
    return claim.job_id, claim.chunk, claim.token


def _no_job(job_id: str) -> UnknownJobError:
    return UnknownJobError(f"no job {job_id}: `fiqa jobs` lists those there are")


def check_job_id(job_id: str) -> str:
    """The same, if it is a job id; raises UnknownJobError."""
    if not _JOB_ID.fullmatch(job_id):
        raise UnknownJobError(f"{job_id!r} is not a job id: `fiqa jobs` lists them")
    return job_id


def _redacted(url: str) -> str:
    """The URL without user, password and options, of which one may be a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
