#!lua flags=no-writes
-- Where partitions stand, as the given quotas see them, and what of that other processes have in slices that come back;
-- changes nothing.
-- KEYS: of each hold the partition's state and its slices. ARGV: the call { owner, holds = { { limit, window } } }.
-- Answers 'sliced' with, of each hold, its figures, when all such slices are back, and cell and amount of each.

-- Upkeep gives back what is over once a second, and its turn takes a moment.
local RETURNED_MS = 1500

local keys, names = {}, {}
for index, hold in ipairs(call.holds) do
  keys[index] = KEYS[2 * index - 1]
  names[index] = hold.window
end
local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end

local replies = {}
for index, hold in ipairs(call.holds) do
  local state = load_state(keys[index])
  local backMs, slices = 0, {}
  if state then
    see(state, hold.window, nowMs)
    local packed = redis.call('GET', KEYS[2 * index])
    for _, slice in ipairs(packed and cmsgpack.unpack(packed).slices or {}) do
      -- What is not back by then is of a process that died.
      local atMs = (slice.overMs or 0) + RETURNED_MS
      local isOwn = string.sub(slice.id, 1, #call.owner + 1) == call.owner .. ' '
      if atMs > nowMs and slice.left > 0 and not isOwn then
        backMs = math.max(backMs, atMs)
        slices[#slices + 1] = whole(locate(state, slice))
        slices[#slices + 1] = whole(slice.left)
      end
    end
  end
  replies[index] = { figures(state, hold.limit, true), whole(backMs), slices }
end
return { 'sliced', clockMs, nowMs, replies }
