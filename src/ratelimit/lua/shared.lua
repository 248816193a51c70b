#!lua
-- Counts the descriptors of a call as envoyproxy/ratelimit does, under its keys: INCRBY and EXPIRE for each.
-- KEYS: the counter of each descriptor, in the window that the caller's clock shows; two may have the same.
-- ARGV: as of count.lua; the moment that counts and the lengths of the units are not used, being in the keys.
-- Answers as count.lua does.

local time = redis.call('TIME')
local clockMs = time[1] * 1000 + math.floor(time[2] / 1000)
if clockMs >= tonumber(ARGV[1]) then return { 'late', clockMs } end
local stopsWhenOver = ARGV[3] == '1'

local MAX_COUNT = 9007199254740991

local function whole(number)
  return string.format('%d', math.min(MAX_COUNT, number))
end

local function stands(key)
  return tonumber(redis.call('GET', key) or '0') or 0
end

local stops = false
local over = {}
for index, key in ipairs(KEYS) do
  local at = 4 * index
  local hits = ARGV[at + 2]
  over[index] = string.sub(hits, 1, 1) ~= '-' and stands(key) + tonumber(hits) > tonumber(ARGV[at + 1])
  stops = stops or (stopsWhenOver and over[index])
end

local reply = { 'counted', clockMs, clockMs }
for index, key in ipairs(KEYS) do
  local at = 4 * index
  local hits = tonumber(ARGV[at + 2])
  local before = stands(key)
  local after = before
  if string.sub(ARGV[at + 2], 1, 1) == '-' then
    local back = math.min(before, -hits)
    if back > 0 then
      redis.call('DECRBY', key, whole(back))
      after = before - back
    end
  elseif hits > 0 and (over[index] or not stops) then
    -- What does not fit into 64 bits is refused by Redis and changes nothing: it stands far beyond any limit.
    local counted = redis.pcall('INCRBY', key, ARGV[at + 2])
    if type(counted) ~= 'number' then
      if not string.find(counted.err, 'overflow', 1, true) then return counted end
      counted = MAX_COUNT
    end
    after = counted
    redis.call('EXPIRE', key, ARGV[at + 3])
  end
  reply[#reply + 1] = whole(before)
  reply[#reply + 1] = whole(after)
end
return reply
