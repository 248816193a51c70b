#!lua flags=no-writes
-- Where partitions stand, as the given quotas see them; changes nothing.
-- KEYS: the partition of each hold. ARGV: the call { holds = { { limit, window } } }.

local names = {}
for index, hold in ipairs(call.holds) do names[index] = hold.window end
local nowMs = moment_for(KEYS)
local gap = uncovered(names, KEYS, nowMs)
if gap then return gap end

local replies = {}
for index, hold in ipairs(call.holds) do
  local state = load_state(KEYS[index])
  if state then see(state, hold.window, nowMs) end
  replies[index] = figures(state, hold.limit, true)
end
return { 'balances', clockMs, nowMs, replies }
