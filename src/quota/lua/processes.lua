#!lua flags=allow-oom
-- Says that a process is there, and counts those that were within the last minute. A script of its own: it needs
-- nothing of the ledger, and no prelude.
-- KEYS: processes by when they were last seen; when any of them last admitted something by its own share.
-- ARGV: the moment before which it may take effect, the process, how long ago it admitted by its share (or '').
-- Answers 'seen': how many, whether this one is new among them, the longest silent, the last local admission (or 0).

local processesKey, localKey = KEYS[1], KEYS[2]
local untilMs, process, localAgoMs = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local SEEN_MS = 60000
-- Longer than any window.
local KEPT_LOCAL_MS = 370 * 86400000
local MAX_FORGOTTEN = 100

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if nowMs >= untilMs then return { 'late', nowMs } end

local function whole(number)
  return string.format('%d', number)
end

local gone = redis.call('ZRANGE', processesKey, '-inf', '(' .. whole(nowMs - SEEN_MS), 'BYSCORE', 'LIMIT', 0, MAX_FORGOTTEN)
if #gone > 0 then redis.call('ZREM', processesKey, unpack(gone)) end
local joined = redis.call('ZADD', processesKey, whole(nowMs), process)
redis.call('PEXPIRE', processesKey, 2 * SEEN_MS)

local lastLocalMs = tonumber(redis.call('GET', localKey) or 0)
if localAgoMs and nowMs - localAgoMs > lastLocalMs then
  lastLocalMs = nowMs - localAgoMs
  redis.call('SET', localKey, whole(lastLocalMs), 'PX', whole(KEPT_LOCAL_MS))
end

local from = whole(nowMs - SEEN_MS)
local seen = #redis.call('ZRANGE', processesKey, from, '+inf', 'BYSCORE')
local oldest = redis.call('ZRANGE', processesKey, from, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
return { 'seen', nowMs, seen, joined, tonumber(oldest[2]), lastLocalMs }
