-- What the scripts that change slices begin with besides.
--
-- A slice is an amount that is reserved in the cell of now for one process. A partition lists its slices, in a key
-- beside its state, as { id, left, generation, cell, dueMs, overMs }: `left` is what is neither adopted nor back, from
-- `overMs` on nothing is admitted from it, and one of an open window is back at `dueMs`, whatever its process says.

-- The partition up to date; answers the gap in the calendars, if there is one.
local function load_slices(key, slicesKey, names)
  local nowMs = moment_for({ key })
  local gap = uncovered(names, { key }, nowMs)
  if gap then return nil, gap end
  local packed = redis.call('GET', slicesKey)
  local state = load_state(key)
  if state then advance(state, nowMs) end
  return {
    key = key, slicesKey = slicesKey, nowMs = nowMs, slices = packed and cmsgpack.unpack(packed).slices or {},
  }
end

-- Forgets slices of which nothing is left, or that count no more.
local function tidy_slices(partition)
  local state = load_state(partition.key)
  local nowMs = partition.nowMs
  local kept = {}
  for _, slice in ipairs(partition.slices) do
    local counts = state and locate(state, slice) >= oldest_cell_at(window_named(state.window), nowMs)
    if counts and slice.dueMs and slice.dueMs <= nowMs then
      change(state, slice, 0, -slice.left)
      counts = false
    end
    if counts and slice.left > 0 then
      kept[#kept + 1] = slice
    elseif state and belongs(state, slice) then
      state.holders = math.max(0, state.holders - 1)
    end
  end
  partition.slices = kept
end

-- The slices of a partition; those of an open window are due some day.
local function save_slices(partition, dueKey)
  local slices, nowMs = partition.slices, partition.nowMs
  if #slices == 0 then
    redis.call('DEL', partition.slicesKey)
    redis.call('ZREM', dueKey, partition.slicesKey)
    return
  end
  local state = load_state(partition.key)
  local window = window_named(state.window)
  local forMs, firstDueMs = 0, nil
  for _, slice in ipairs(slices) do
    if slice.dueMs then
      -- Nothing else knows of these places, and no cell of theirs leaves: until somebody has looked.
      forMs = math.max(forMs, slice.dueMs - nowMs + ORPHANED_MS)
      firstDueMs = math.min(firstDueMs or slice.dueMs, slice.dueMs)
    else
      forMs = math.max(forMs, leaves_in_ms(window, locate(state, slice), nowMs))
    end
  end
  keep(partition.slicesKey, cmsgpack.pack({ key = partition.key, slices = slices }), forMs)
  if firstDueMs then add_lease(dueKey, partition.slicesKey, firstDueMs, forMs) end
end
