-- What every script of the ledger begins with. The arithmetic is that of ../window-state.ts, ../debt.ts and the
-- timelines, name by name; figures derived from it (waits, what is left) are computed by the process that asked.
--
-- Rules of the scripts: the moment comes from Redis. Everything is read and decided before the first write, and
-- nothing that can fail stands between two writes: a script that is stopped by an error has changed nothing.
-- Numbers are doubles, whole and below 2^53. Amounts leave as text, by `whole`: tostring() keeps 14 digits, and the
-- client reads integers near 2^53 off by one.

-- One argument says what is asked, as JSON. `untilMs`: the moment before which the call may take effect.
-- `momentMs`: given by tests alone, counts instead of Redis's own moment. `calendars`: for each calendar window
-- by its name, first milliseconds of windows that follow each other; the last ends the one before it; false where the
-- process that asked does not know the time zone.
local call = cjson.decode(ARGV[1])

local time = redis.call('TIME')
local clockMs = time[1] * 1000 + math.floor(time[2] / 1000)
if call.untilMs and clockMs >= call.untilMs then return { 'late', clockMs } end

local MAX_EXACT = 9007199254740991
-- State is kept a minute longer than it counts, so that a clock that is set back by less finds it.
local KEPT_MS = 60000
-- A reservation that no `expire` ended, because no process was there, is kept for another day.
local ORPHANED_MS = 86400000
local MAX_TTL_MS = 1e13
-- Windows of a partition can change this often while it is held; what is older gives nothing back.
local MAX_MOVES = 32
-- Answers that carry one reservation; of more it is not known who they are.
local MAX_CARRIERS = 16

local function whole(number)
  return string.format('%d', number)
end

local SUB_WINDOWS = 64
-- Longer than any window of its kind.
local PERIOD_MS = {
  minute = 60000, hour = 7200000, day = 172800000, week = 691200000, month = 2764800000, year = 31708800000,
}

-- Windows ---------------------------------------------------------------------------------------------------

-- A window is known by its name: 'sliding 60000', 'calendar day Europe/Berlin', 'calendar fixed 60000' or 'open'. One
-- of a later release, or in a zone that the process that asked does not know, is not guessed at: the error comes before
-- the first write.
local windows = {}

local function window_named(name)
  local window = windows[name]
  if window then return window end
  local length = string.match(name, '^sliding (%d+)$')
  local fixed = string.match(name, '^calendar fixed (%d+)$')
  local period = string.match(name, '^calendar (%l+) ')
  if length then
    window = { kind = 'sliding', lengthMs = tonumber(length) }
  elseif fixed then
    window = { kind = 'fixed', lengthMs = tonumber(fixed), periodMs = tonumber(fixed) }
  elseif period and PERIOD_MS[period] and call.calendars[name] ~= false then
    window = { kind = 'calendar', periodMs = PERIOD_MS[period], starts = call.calendars[name] or {} }
  elseif name == 'open' then
    window = { kind = 'open' }
  else
    error('a window that is not known here')
  end
  windows[name] = window
  return window
end

-- The start of the calendar window around a moment that `uncovered` found to be known.
local function calendar_start(window, atMs)
  local starts = window.starts
  for index = #starts, 1, -1 do
    if starts[index] <= atMs then return starts[index], starts[index + 1] end
  end
end

local function cell_at(window, nowMs)
  if window.kind == 'sliding' then return math.floor(nowMs * SUB_WINDOWS / window.lengthMs) end
  if window.kind == 'calendar' then return (calendar_start(window, nowMs)) end
  if window.kind == 'fixed' then return nowMs - nowMs % window.lengthMs end
  return 0
end

local function oldest_cell_at(window, nowMs)
  local cell = cell_at(window, nowMs)
  return window.kind == 'sliding' and cell - SUB_WINDOWS or cell
end

local function debt_begins_at(window, nowMs)
  local kind = window.kind
  return (kind == 'calendar' or kind == 'fixed') and cell_at(window, nowMs) or nowMs
end

-- For how long the cell counts at most; only for how long state is kept.
local function leaves_in_ms(window, cell, nowMs)
  if window.kind == 'sliding' then
    return math.ceil((cell + SUB_WINDOWS + 1) * window.lengthMs / SUB_WINDOWS) - nowMs
  end
  if window.kind == 'calendar' then
    local _, nextStart = calendar_start(window, nowMs)
    return nextStart - nowMs
  end
  if window.kind == 'fixed' then return cell + window.lengthMs - nowMs end
  return 0
end

-- Debt ------------------------------------------------------------------------------------------------------

-- floor((x * y + carry) / divisor) and the rest, for whole numbers below 2^53, a divisor below 2^36 and a carry
-- below it. Exact as long as the quotient is below 2^53; above, it is too large to be anything else.
local function multiply_divide(x, y, carry, divisor)
  local product = x * y + carry
  if product <= MAX_EXACT then
    local quotient = math.floor(product / divisor)
    return quotient, product - quotient * divisor
  end
  local whole = math.floor(x / divisor)
  local part = x - whole * divisor
  -- part * y + carry by long division, 15 bits of y at a time: no product reaches 2^53.
  local quotient, rest = 0, 0
  for shift = 45, 0, -15 do
    local digit = math.floor(y / 2 ^ shift) % 32768
    local value = rest * 32768 + part * digit
    local times = math.floor(value / divisor)
    quotient = quotient * 32768 + times
    rest = value - times * divisor
  end
  rest = rest + carry
  if rest >= divisor then
    quotient = quotient + 1
    rest = rest - divisor
  end
  return whole * y + quotient, rest
end

local function debt_at(window, debt, limit, nowMs)
  if window.kind == 'sliding' then
    local fallen, carry = multiply_divide(limit, nowMs - debt.sinceMs, debt.carry, window.lengthMs)
    if fallen >= debt.amount then return nil end
    return { amount = debt.amount - fallen, carry = carry, sinceMs = nowMs }
  end
  if window.kind == 'calendar' then
    local amount = debt.amount
    for _, start in ipairs(window.starts) do
      if start > debt.sinceMs and start <= nowMs then amount = amount - limit end
      if amount <= 0 then return nil end
    end
    return { amount = amount, carry = 0, sinceMs = cell_at(window, nowMs) }
  end
  if window.kind == 'fixed' then
    local now = cell_at(window, nowMs)
    -- Where the product is no exact double it is beyond 2^53, and so beyond any debt.
    local amount = debt.amount - limit * ((now - debt.sinceMs) / window.lengthMs)
    return amount > 0 and { amount = amount, carry = 0, sinceMs = now } or nil
  end
  return nil
end

-- Partitions ------------------------------------------------------------------------------------------------

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

-- Makes the state, which is up to date, one of another window: whatever counts now counts as if admitted now.
local function change_window(state, windowName, nowMs)
  local window = window_named(windowName)
  local cell = cell_at(window, nowMs)
  local moves = state.moves
  moves[#moves + 1] = { oldest_cell_at(window_named(state.window), nowMs), cell }
  if #moves > MAX_MOVES then table.remove(moves, 1) end
  state.generation = state.generation + 1
  state.window = windowName
  state.cells = state.spent + state.reserved > 0 and { cell, state.spent, state.reserved } or {}
  if state.debt then
    state.debt = { amount = state.debt.amount, carry = 0, sinceMs = debt_begins_at(window, nowMs) }
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

-- Is the placement one of this state? Not if the state was lost meanwhile, or has changed its window too often.
local function belongs(state, placement)
  local generation = placement.generation
  return generation <= state.generation and generation >= state.generation - #state.moves
end

-- The cell that a placement is in now; -1 when it counts no more.
local function locate(state, placement)
  if not belongs(state, placement) then return -1 end
  local cell = placement.cell
  for index = placement.generation - state.generation + #state.moves + 1, #state.moves do
    local move = state.moves[index]
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

-- Reservations ----------------------------------------------------------------------------------------------

-- phase: 'open', 'unsettled' (its lease ran out, a report may still come), 'ended' (only its idempotency key is
-- still known), 'abandoned' (nothing is held, and nothing may be under this id any more), 'alias' (answers that went out
-- with this id carry the reservation under the key `of`).
local function load_reservation(key)
  local packed = redis.call('GET', key)
  return packed and cmsgpack.unpack(packed) or nil
end

-- The reservation that answers with this id carry, and its own key.
local function find_reservation(key)
  local reservation = load_reservation(key)
  if not reservation or reservation.phase ~= 'alias' then return reservation, key end
  return load_reservation(reservation.of), reservation.of
end

local function is_live(reservation)
  return reservation and (reservation.phase == 'open' or reservation.phase == 'unsettled')
end

-- The calls whose answers carry the reservation, or its part in this bucket (../carriers.ts). Nil: not all are known,
-- since there are too many, or since one was answered by an older release, which only says that there are several.
local function carriers_of(reservation)
  local carriers = reservation.carriers or { reservation.id }
  if reservation.repeated == (#carriers > 1) then return carriers end
end

local function is_carried_by(reservation, carrier)
  for _, each in ipairs(carriers_of(reservation) or {}) do
    if each == carrier then return true end
  end
  return false
end

local function set_carriers(reservation, carriers)
  reservation.carriers = #carriers <= MAX_CARRIERS and carriers or nil
  reservation.repeated = #carriers > 1
end

local function carry(reservation, carrier)
  local carriers = carriers_of(reservation)
  if not carriers or is_carried_by(reservation, carrier) then return end
  carriers[#carriers + 1] = carrier
  set_carriers(reservation, carriers)
end

local function save_carriers(key, reservation)
  redis.call('SET', key, cmsgpack.pack(reservation), 'KEEPTTL')
end

local function keys_of(placements)
  local keys, names = {}, {}
  for index, placement in ipairs(placements) do
    keys[index] = placement.key
    names[index] = placement.window
  end
  return keys, names
end

-- Leases by the moment their phase is over; the set is kept as long as the last of them may matter.
local function add_lease(key, reservationKey, dueMs, forMs)
  redis.call('ZADD', key, whole(dueMs), reservationKey)
  if redis.call('PTTL', key) < forMs + KEPT_MS then
    redis.call('PEXPIRE', key, whole(math.min(MAX_TTL_MS, forMs + KEPT_MS)))
  end
end

-- What the process needs to know of a reservation that it may not have made. Context and quotas are its own texts,
-- `elsewhere` is what it holds in other buckets: position among all its holds, key and amount of each.
local function told(reservation)
  local holds = {}
  for index, placement in ipairs(reservation.placements) do
    holds[index] = { placement.key, whole(placement.amount) }
  end
  return {
    reservation.id, reservation.admittedMs, reservation.context, reservation.quotas, holds, reservation.elsewhere or {},
  }
end

-- Has the reservation its idempotency key still? Parts away from its home have none.
local function owns_key(reservation, reservationKey)
  return not reservation.part and redis.call('GET', reservation.idempotencyKey) == reservationKey
end

-- Where the reservation's partitions stand, as its own quotas see them; what was saved before is not changed.
local function figures_of(placements, nowMs)
  local replies = {}
  for index, placement in ipairs(placements) do
    local state = load_state(placement.key)
    if state then see(state, placement.window, nowMs) end
    replies[index] = figures(state, placement.limit, false)
  end
  return replies
end

-- Ends what a placement holds, whether it counts or not. `actual`: what it came to; nil: the lease ran out.
-- The state is saved by the caller.
local function end_placement(placement, phase, actual, nowMs)
  local state = load_state(placement.key)
  if not state then
    state = new_state(placement.window, placement.limit, nowMs)
    states[placement.key] = state
  end
  advance(state, nowMs)
  local counted = placement.counted
  local open = window_named(state.window).kind == 'open'
  local spent = open and 0 or math.min(actual or counted, counted)
  if phase == 'open' then
    change(state, placement, spent, -counted)
  elseif not open then
    -- What the lease left as spent in full comes down to what was used.
    change(state, placement, spent - counted, 0)
  end
  local debt = 0
  if actual and not open then debt = math.max(0, actual - placement.amount) end
  if debt > 0 then add_debt(state, debt, nowMs) end
  return debt
end

-- The reservation that is placed here can change nothing more.
local function let_go(placement, nowMs)
  local state = load_state(placement.key)
  if not state then return end
  -- Also where it is another's by now: what is saved is up to date.
  advance(state, nowMs)
  if belongs(state, placement) then state.holders = math.max(0, state.holders - 1) end
end

local function save_states(placements, nowMs)
  local saved = {}
  for _, placement in ipairs(placements) do
    local key = placement.key
    if not saved[key] and load_state(key) then save_state(key, states[key], nowMs) end
    saved[key] = true
  end
end
