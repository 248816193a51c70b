#!lua
-- Counts the descriptors of a call, each in the window of its unit, all at one moment.
-- KEYS: the counter of each descriptor; two may have the same. They are of one domain, so of one hash slot.
-- ARGV: the moment before which the call may take effect; the moment that counts, given by tests alone, else '';
-- '1' if a call in which some descriptor comes to be over counts no other, else '0'; then for each descriptor the
-- length of its unit in seconds, its limit, its hits ('-' before those that are given back), and how long its
-- counter is kept, in seconds.
-- Answers 'counted', the moment of Redis, the moment that counted, and for each descriptor before and after. As text:
-- the client reads integers near 2^53 off by one.
-- A counter is the second in which its window began and the hits in it. Everything is read before the first write.

local time = redis.call('TIME')
local clockMs = time[1] * 1000 + math.floor(time[2] / 1000)
if clockMs >= tonumber(ARGV[1]) then return { 'late', clockMs } end
local nowMs = tonumber(ARGV[2]) or clockMs
local nowSeconds = math.floor(nowMs / 1000)
local stopsWhenOver = ARGV[3] == '1'

local MAX_COUNT = 9007199254740991

local function whole(number)
  return string.format('%d', number)
end

-- By key, also for a key that stands twice.
local counters = {}

local function load(key, unitSeconds)
  if counters[key] then return counters[key] end
  local start = nowSeconds - nowSeconds % unitSeconds
  local count = 0
  local stored = redis.call('GET', key)
  if stored then
    local storedStart, storedCount = string.match(stored, '^(%d+) (%d+)$')
    storedStart = tonumber(storedStart)
    -- A clock that is set back by less than two windows admits nothing more.
    if storedStart and storedStart >= start and storedStart <= start + unitSeconds then
      start, count = storedStart, tonumber(storedCount)
    end
  end
  counters[key] = { start = start, count = count }
  return counters[key]
end

local asks = {}
local stops = false
for index, key in ipairs(KEYS) do
  local at = 4 * index
  local hits = ARGV[at + 2]
  local ask = { counter = load(key, tonumber(ARGV[at])), refunds = string.sub(hits, 1, 1) == '-', keptSeconds = ARGV[at + 3] }
  ask.hits = math.abs(tonumber(hits))
  ask.over = not ask.refunds and ask.counter.count + ask.hits > tonumber(ARGV[at + 1])
  stops = stops or (stopsWhenOver and ask.over)
  asks[index] = ask
end

local reply = { 'counted', clockMs, nowMs }
for index, key in ipairs(KEYS) do
  local ask = asks[index]
  local counter = ask.counter
  reply[#reply + 1] = whole(counter.count)
  if ask.refunds then
    counter.count = math.max(0, counter.count - ask.hits)
    counter.keptSeconds = counter.keptSeconds or ask.keptSeconds
  elseif ask.hits > 0 and (ask.over or not stops) then
    counter.count = math.min(MAX_COUNT, counter.count + ask.hits)
    counter.keptSeconds = ask.keptSeconds
  end
  reply[#reply + 1] = whole(counter.count)
end

for key, counter in pairs(counters) do
  if counter.keptSeconds then
    if counter.count == 0 then
      redis.call('DEL', key)
    else
      redis.call('SET', key, whole(counter.start) .. ' ' .. whole(counter.count), 'EX', counter.keptSeconds)
    end
  end
end
return reply
