#!lua flags=allow-oom
-- Says that a process is there, and what part of each limit it may hold by itself while Redis is away. A script of its
-- own: it needs nothing of the ledger, and nothing of `common`.
-- KEYS: processes by when they were last seen; what each of them claims.
-- ARGV: the moment before which it may take effect, the process, what it says as JSON (`Said` of processes.ts).
-- Answers 'seen': how many, what this one may claim, the number of the table, and the table where it is another one.
--
-- A claim is for a horizon: of windows that forget what they count within that time. It is a whole number d, for a d-th of
-- each limit; 0 for nothing. For each horizon the claims of all, and what they used by larger ones as long as it may
-- count, are one limit at most. That holds since a process never believes in more than stands here of it: the larger of
-- what it said, and of what it is answered, which may not come. One that is not seen any more may have used its claim
-- until now.

local seenKey, tableKey = KEYS[1], KEYS[2]
local untilMs, process, said = tonumber(ARGV[1]), ARGV[2], cjson.decode(ARGV[3])
local SEEN_MS = 60000
-- One that lost its connection is back within a pause and a connect, some 3 s, and asks each second.
local SETTLING_MS = 10000
local USED_STEP_MS = 10000
local MAX_FORGOTTEN = 100
-- Beyond, nobody may claim anything; of those that have gone, some are told as one.
local MAX_ENTRIES, MAX_GONE = 1000, 64
local GONE_AS_ONE = '*'
-- A multiple of 1 to 36, so that so many equal parts are exactly one whole.
local WHOLE = 144403552893600
local ROUNDED = 1 - 1e-12
local MAX_DIVISOR = 1000000

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if nowMs >= untilMs then return { 'late', nowMs } end
nowMs = said.momentMs or nowMs

local horizons = said.horizonsMs
local keptMs = horizons[#horizons]

local function whole(number)
  return string.format('%d', number)
end

local packed = redis.call('GET', tableKey)
-- Of each: its claims, then the largest that it used, by horizon; when it last did, and when it was found gone or 0.
local all = packed and cjson.decode(packed) or { born = nowMs, settling = nowMs, version = 0, entries = {} }
local entries = all.entries
local isChanged = not packed
local count, gone = 0, 0

local function larger(one, other)
  if one == 0 or other == 0 then return math.max(one, other) end
  return math.min(one, other)
end

local USED_MS, GONE_MS = 2 * #horizons + 1, 2 * #horizons + 2

local function used_at(entry, horizon)
  return nowMs - entry[USED_MS] <= horizons[horizon] and entry[#horizons + horizon] or 0
end

-- One that has gone may have used what it claimed until it was found so.
local function bound(entry, horizon)
  local isClaimed = entry[GONE_MS] == 0 or nowMs - entry[GONE_MS] <= horizons[horizon]
  return larger(isClaimed and entry[horizon] or 0, used_at(entry, horizon))
end

local function claims_nothing(entry)
  for horizon = 1, #horizons do
    if entry[horizon] > 0 then return false end
  end
  return true
end

local function is_gone(entry)
  return entry[GONE_MS] > 0 or claims_nothing(entry)
end

local function matters(entry)
  for horizon = 1, #horizons do
    if bound(entry, horizon) > 0 then return true end
  end
  return false
end

local function nothing()
  local entry = {}
  for at = 1, GONE_MS do entry[at] = 0 end
  return entry
end

-- What was used counts from this moment on, by the largest claim that may still count.
local function use(entry, divisors, atMs)
  for horizon = 1, #horizons do
    entry[#horizons + horizon] = larger(used_at(entry, horizon), divisors[horizon])
  end
  entry[USED_MS] = atMs
end

local function add_up(one, other)
  if one == 0 or other == 0 then return math.max(one, other) end
  -- No whole number, and written with 14 digits.
  return one * other / (one + other) * ROUNDED
end

-- One that has gone is kept as long as what it used may count.
local function leave(name)
  local entry = entries[name]
  if not matters(entry) then
    entries[name] = nil
  elseif gone >= MAX_GONE then
    local one = entries[GONE_AS_ONE] or nothing()
    for horizon = 1, #horizons do
      one[#horizons + horizon] = add_up(bound(one, horizon), bound(entry, horizon))
    end
    one[USED_MS] = math.max(one[USED_MS], entry[USED_MS], entry[GONE_MS])
    entries[GONE_AS_ONE] = one
    entries[name] = nil
  else
    gone = gone + 1
  end
end

for name, entry in pairs(entries) do
  count = count + 1
  if is_gone(entry) then gone = gone + 1 end
end

local silent = redis.call('ZRANGE', seenKey, '-inf', '(' .. whole(nowMs - SEEN_MS), 'BYSCORE', 'LIMIT', 0, MAX_FORGOTTEN)
if #silent > 0 then redis.call('ZREM', seenKey, unpack(silent)) end
for _, name in ipairs(silent) do
  local entry = entries[name]
  -- This one says itself what it used.
  if entry and name ~= process then
    entry[GONE_MS] = nowMs
    leave(name)
    isChanged = true
  end
end

-- It knew a store that has lost its memory since: what that had of the others, and no claim is granted before others
-- like it had the time to come.
if said.bornMs > 0 and said.bornMs ~= all.born then
  all.settling = nowMs
  isChanged = true
end
if said.known then
  for name, entry in pairs(cjson.decode(said.known.entries).entries) do
    if not entries[name] and count < MAX_ENTRIES then
      -- Never later than now, whatever it says: what is in the future is never forgotten.
      local laterMs = nowMs - said.known.atMs
      entry[USED_MS] = math.min(nowMs, entry[USED_MS] + laterMs)
      if entry[GONE_MS] > 0 then entry[GONE_MS] = math.min(nowMs, entry[GONE_MS] + laterMs) end
      entries[name] = entry
      count = count + 1
      isChanged = true
      if not is_gone(entry) then redis.call('ZADD', seenKey, 'NX', whole(nowMs), name) end
    end
  end
end

local own = entries[process] or nothing()
local ownBefore = entries[process] and cjson.encode(own)
if said.used then
  -- In steps, so that saying it again changes nothing.
  local atMs = math.ceil((nowMs - said.used.agoMs) / USED_STEP_MS) * USED_STEP_MS
  use(own, said.used.divisors, atMs)
end
if said.leaving then redis.call('ZREM', seenKey, process) else redis.call('ZADD', seenKey, whole(nowMs), process) end
local seen = #redis.call('ZRANGE', seenKey, whole(nowMs - SEEN_MS), '+inf', 'BYSCORE')

local function granted(horizon)
  local least, taken = seen, 0
  for name, entry in pairs(entries) do
    local divisor = name ~= process and bound(entry, horizon) or 0
    if divisor > 0 then
      taken = taken + math.ceil(WHOLE / divisor)
      -- Those who are there make room for whoever comes in its place.
      if is_gone(entry) then least = least + 1 end
    end
  end
  least = math.max(least, said.atLeast)
  local room = WHOLE - taken
  local divisor = room > 0 and math.max(least, math.ceil(WHOLE / room)) or 0
  if divisor > MAX_DIVISOR then divisor = 0 end
  if nowMs - all.settling >= SETTLING_MS then return divisor end
  local claim = said.claims[horizon]
  return claim > 0 and math.max(claim, least) or 0
end

local grants = {}
local mayClaim = not said.leaving and count <= MAX_ENTRIES
for horizon = 1, #horizons do
  grants[horizon] = mayClaim and granted(horizon) or 0
end
for horizon = 1, #horizons do
  own[horizon] = said.leaving and 0 or larger(said.claims[horizon], grants[horizon])
end
own[GONE_MS] = 0
entries[process] = own
if said.leaving or not matters(own) then leave(process) end
local ownAfter = entries[process] and cjson.encode(own)

if isChanged or ownBefore ~= ownAfter then
  for name, entry in pairs(entries) do
    if is_gone(entry) and not matters(entry) then entries[name] = nil end
  end
  all.version = math.max(nowMs, all.version + 1)
  packed = cjson.encode(all)
  redis.call('SET', tableKey, packed)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, whole(keptMs)) end
return {
  'seen', nowMs, seen, cjson.encode(grants), all.version, all.born,
  all.version ~= said.version and packed or '',
}
