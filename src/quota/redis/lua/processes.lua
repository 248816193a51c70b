#!lua flags=allow-oom
-- Says that a process is there, and counts those that were within the last minute. A script of its own: it needs
-- nothing of the ledger, and no prelude.
-- KEYS: processes by when they were last seen; the same by what they were told; when any of them last admitted something
-- by its own share, and by whom it counted then.
-- ARGV: the moment before which it may take effect, the process, the moment of the last answer that it received (or 0),
-- how long ago it admitted by its share, and the moment of that count (or '' for both).
-- Answers 'seen': how many, whether this one is new among them as far as it knows, what all were told, the last local
-- admission and its count (or 0).

local processesKey, toldKey, localKey = KEYS[1], KEYS[2], KEYS[3]
local untilMs, process, toldMs = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local localAgoMs, localCountedMs = tonumber(ARGV[4]), tonumber(ARGV[5])
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
if #gone > 0 then
  redis.call('ZREM', processesKey, unpack(gone))
  redis.call('ZREM', toldKey, unpack(gone))
end
local joined = redis.call('ZADD', processesKey, whole(nowMs), process) == 1

-- An answer that is lost has told nobody anything, so each process says which it received last. As long as it has
-- received none since it came, its score is the moment at which it came, below 0, and it is new.
local known = not joined and tonumber(redis.call('ZADD', toldKey, 'XX', 'INCR', 0, process) or nil)
local score = known or -nowMs
if known and toldMs >= -known then score = toldMs end
redis.call('ZADD', toldKey, whole(score), process)
for _, key in ipairs({ processesKey, toldKey }) do redis.call('PEXPIRE', key, 2 * SEEN_MS) end

local packedLocal = redis.call('GET', localKey) or '0 0'
local lastLocalMs, countedMs = string.match(packedLocal, '^(%d+) (%d+)$')
lastLocalMs, countedMs = tonumber(lastLocalMs), tonumber(countedMs)
if localAgoMs and (nowMs - localAgoMs > lastLocalMs or localCountedMs > countedMs) then
  lastLocalMs = math.max(lastLocalMs, nowMs - localAgoMs)
  countedMs = math.max(countedMs, localCountedMs)
  redis.call('SET', localKey, whole(lastLocalMs) .. ' ' .. whole(countedMs), 'PX', whole(KEPT_LOCAL_MS))
end

local seen = #redis.call('ZRANGE', processesKey, whole(nowMs - SEEN_MS), '+inf', 'BYSCORE')
local allTold = redis.call('ZRANGE', toldKey, 0, 0, 'WITHSCORES')
return { 'seen', nowMs, seen, score < 0 and 1 or 0, tonumber(allTold[2]), lastLocalMs, countedMs }
