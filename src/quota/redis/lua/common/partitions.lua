-- What stands against a quota in one partition: read once, changed in here, written back.

-- So many moves are kept apart, older ones are merged. A release that knows of no merged ones still finds by these
-- what was moved.
local MAX_MOVES = 32

-- States by their keys: two holds of one partition see the same one.
local states = {}

local function load_state(key)
  if states[key] == nil then
    local packed = redis.call('GET', key)
    states[key] = packed and cmsgpack.unpack(packed)
  end
  return states[key] or nil
end

-- No state that is looked at was seen at a later moment: a clock that is set back admits nothing more.
local function moment_for(keys)
  local nowMs = call.momentMs or clockMs
  for _, key in ipairs(keys) do
    local state = load_state(key)
    if state and state.latestMs > nowMs then nowMs = state.latestMs end
  end
  return nowMs
end

-- What the calendars of the call do not reach: the process that asked sends them from there on, once.
local function uncovered(names, keys, nowMs)
  local function gap(name, fromMs)
    local window = window_named(name)
    if window.kind ~= 'calendar' then return nil end
    local starts = window.starts
    if #starts > 1 and starts[1] <= fromMs and nowMs < starts[#starts] then return nil end
    return { 'uncovered', clockMs, nowMs, name, fromMs }
  end
  for _, name in ipairs(names) do
    local found = gap(name, nowMs)
    if found then return found end
  end
  for _, key in ipairs(keys) do
    local state = load_state(key)
    local fromMs = state and state.debt and math.min(state.debt.sinceMs, nowMs) or nowMs
    local found = state and gap(state.window, fromMs)
    if found then return found end
  end
end

local function new_state(windowName, limit, nowMs)
  return {
    window = windowName, limit = limit, cells = {}, spent = 0, reserved = 0,
    -- Which making of this partition's state it is: placements of another find nothing in it. A state that is
    -- made anew is one of a later moment.
    generation = nowMs, moves = {},
    holders = 0, heldUntilMs = 0, latestMs = nowMs,
  }
end

-- Forgets the cells that have left and what of the debt has fallen.
local function advance(state, nowMs)
  local window = window_named(state.window)
  local oldest = oldest_cell_at(window, nowMs)
  local cells = state.cells
  if #cells > 0 and cells[1] < oldest then
    local kept = {}
    for at = 1, #cells, 3 do
      if cells[at] < oldest then
        state.spent = state.spent - cells[at + 1]
        state.reserved = state.reserved - cells[at + 2]
      else
        kept[#kept + 1] = cells[at]
        kept[#kept + 1] = cells[at + 1]
        kept[#kept + 1] = cells[at + 2]
      end
    end
    state.cells = kept
  end
  if state.debt then state.debt = debt_at(window, state.debt, state.limit, nowMs) end
end

-- The generation whose cells the oldest move saw.
local function oldest_moved(state)
  return state.generation - #state.moves
end

-- Has the next move stand for the oldest, too. What the oldest brought along was in the oldest cell that the next one
-- saw: either the next one took that along, and with it all that came later, or it left behind all that was older. So
-- it is enough to know where what counts begins (`fromGeneration`, `fromCell`), and whose moves are merged (`since`).
local function merge_oldest(state)
  local generation = oldest_moved(state)
  local oldest = table.remove(state.moves, 1)
  local following = state.moves[1]
  following.since = oldest.since or generation
  if oldest[2] >= following[1] then
    following.fromGeneration = oldest.fromGeneration or generation
    following.fromCell = oldest.fromCell or oldest[1]
  else
    following.fromGeneration, following.fromCell = generation + 1, following[1]
  end
end

-- Makes the state, which is up to date, one of another window: whatever counts now counts as if admitted now.
local function change_window(state, windowName, nowMs)
  local from, window = window_named(state.window), window_named(windowName)
  local cell = cell_at(window, nowMs)
  local moves = state.moves
  -- The oldest cell that was taken along, and the cell that all went to.
  moves[#moves + 1] = { oldest_cell_at(from, nowMs), cell }
  state.generation = state.generation + 1
  if #moves > MAX_MOVES then merge_oldest(state) end
  state.window = windowName
  state.cells = state.spent + state.reserved > 0 and { cell, state.spent, state.reserved } or {}
  local debt = state.debt
  if debt then
    local carry = carry_under(from, window, debt.carry)
    state.debt = { amount = debt.amount, carry = carry, sinceMs = debt_begins_at(window, nowMs) }
  end
end

-- Brings the state up to date and under the window of the quota that looks; true if that window is another.
local function see(state, windowName, nowMs)
  advance(state, nowMs)
  if state.window == windowName then return false end
  change_window(state, windowName, nowMs)
  return true
end

local function room_in(state, limit)
  if not state then return limit end
  return limit - state.spent - state.reserved - (state.debt and state.debt.amount or 0)
end

-- Reserves in the cell of now; answers where that is.
local function place(state, amount, nowMs)
  local counted = math.min(amount, MAX_EXACT - state.spent - state.reserved)
  local cell = cell_at(window_named(state.window), nowMs)
  local cells = state.cells
  local last = #cells - 2
  if last > 0 and cells[last] == cell then
    cells[last + 2] = cells[last + 2] + counted
  else
    cells[#cells + 1] = cell
    cells[#cells + 1] = 0
    cells[#cells + 1] = counted
  end
  state.reserved = state.reserved + counted
  return { generation = state.generation, cell = cell, counted = counted }
end

-- Is the placement one of this state? Not if the state was lost meanwhile.
local function belongs(state, placement)
  local oldest = state.moves[1]
  local since = oldest and oldest.since or oldest_moved(state)
  return placement.generation <= state.generation and placement.generation >= since
end

-- The cell that a placement is in now; -1 when it counts no more.
local function locate(state, placement)
  if not belongs(state, placement) then return -1 end
  local moves = state.moves
  local cell = placement.cell
  local passed = placement.generation - oldest_moved(state)
  if passed < 0 then
    local merged = moves[1]
    local later = placement.generation - merged.fromGeneration
    local counts = later > 0 or later == 0 and cell >= merged.fromCell
    cell, passed = counts and merged[2] or -1, 1
  end
  for index = passed + 1, #moves do
    local move = moves[index]
    cell = cell >= move[1] and move[2] or -1
  end
  return cell
end

-- Changes the figures of a placement, if it still counts. The state is up to date.
local function change(state, placement, spent, reserved)
  local cell = locate(state, placement)
  local cells = state.cells
  for at = #cells - 2, 1, -3 do
    if cells[at] == cell then
      cells[at + 1] = cells[at + 1] + spent
      cells[at + 2] = cells[at + 2] + reserved
      state.spent = state.spent + spent
      state.reserved = state.reserved + reserved
      return
    end
  end
end

local function add_debt(state, amount, nowMs)
  local debt = state.debt
  state.debt = {
    amount = math.min(MAX_EXACT, (debt and debt.amount or 0) + amount),
    carry = debt and debt.carry or 0,
    sinceMs = debt and debt.sinceMs or debt_begins_at(window_named(state.window), nowMs),
  }
end

-- How much longer the state matters; it is up to date.
local function matters_for_ms(state, nowMs)
  local window = window_named(state.window)
  local ms = 0
  local cells = state.cells
  for at = #cells - 2, 1, -3 do
    if cells[at + 1] > 0 or cells[at + 2] > 0 then
      ms = leaves_in_ms(window, cells[at], nowMs)
      break
    end
  end
  if state.debt then
    local fallsInMs = 0
    if window.kind == 'sliding' then
      fallsInMs = state.debt.amount / state.limit * window.lengthMs + 1
    else
      fallsInMs = (math.ceil(state.debt.amount / state.limit) + 1) * window.periodMs
    end
    ms = math.max(ms, fallsInMs)
  end
  if state.holders > 0 then ms = math.max(ms, state.heldUntilMs - nowMs) end
  return ms
end

local function keep(key, packed, forMs)
  redis.call('SET', key, packed, 'PX', whole(math.min(MAX_TTL_MS, forMs + KEPT_MS)))
end

-- Writes the state, or frees it when it is as if it had never been used. The state is up to date.
local function save_state(key, state, nowMs)
  state.latestMs = nowMs
  local forMs = matters_for_ms(state, nowMs)
  if forMs <= 0 and state.holders == 0 and state.spent + state.reserved == 0 then
    redis.call('DEL', key)
    states[key] = false
  else
    keep(key, cmsgpack.pack(state), forMs)
  end
end

-- Where a partition stands: spent, reserved, debt (amount, carry, since), cells; empty if it was never used. All
-- cells if nothing is left, or `full`, since the process then computes when something will be; else the newest in use.
local function figures(state, limit, full)
  if not state then return '' end
  local debt = state.debt
  local parts = {
    whole(state.spent), whole(state.reserved),
    whole(debt and debt.amount or 0), whole(debt and debt.carry or 0), whole(debt and debt.sinceMs or 0),
  }
  local cells = state.cells
  local from, to = 1, #cells
  if not full and room_in(state, limit) > 0 then
    from = #cells - 2
    while from > 1 and cells[from + 1] == 0 and cells[from + 2] == 0 do from = from - 3 end
    to = from + 2
  end
  for at = math.max(from, 1), to do parts[#parts + 1] = whole(cells[at]) end
  return table.concat(parts, ' ')
end
