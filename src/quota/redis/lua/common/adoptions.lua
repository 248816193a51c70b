-- What becomes of the reservations that a turn tells of (turn.lua), after what is said of slices (sliced.lua).

-- The partitions of the turn, by their numbers, as `load_slices` has them.
local partitions = {}

local function slice_of(part)
  for _, slice in ipairs(partitions[part.at].slices) do
    if slice.id == part.slice then return slice end
  end
end

local function is_open(name)
  return window_named(name).kind == 'open'
end

-- What is to be written: reservations with their leases, what more answers carry, ids that lead to another reservation,
-- and those that are no longer.
local reservations, repeats, aliases, gone = {}, {}, {}, {}

local function carry_all(reservation, carriers)
  for _, carrier in ipairs(carriers or {}) do carry(reservation, carrier) end
  if not carriers then reservation.carriers, reservation.repeated = nil, true end
end

-- The other, which has the key, as its answers are told of it: with its id and what it holds elsewhere, if it is live.
local function known_as(known)
  if not is_live(known) then return { 'known' } end
  local answer = { 'known', known.id }
  for index, each in ipairs(known.elsewhere or {}) do answer[index + 2] = each[2] end
  return answer
end

-- The other once more. `ended`: as long as its home remembers that, its report may still be on its way to other parts.
local function known_again(known)
  if known and known.phase == 'ended' then return 'ended' end
  return known_as(known)
end

local function adopt(asked, reservationKey, idempotencyKey, context, quotas)
  -- It was told of the other before, whose own key it brings: in a slot that is being moved Redis watches over that alone.
  if asked.again then return known_again(load_reservation(idempotencyKey)) end
  local same = load_reservation(reservationKey)
  if same and same.phase ~= 'alias' then return same.phase == 'abandoned' and 'abandoned' or 'adopted' end
  local knownKey = not asked.part and redis.call('GET', idempotencyKey)
  local known = knownKey and load_reservation(knownKey)
  if known and known.phase ~= 'abandoned' then
    -- Another process was asked too: its reservation is carried by these answers as well.
    carry_all(known, asked.carriers)
    repeats[#repeats + 1] = { key = knownKey, packed = cmsgpack.pack(known) }
    if not is_live(known) then return known_as(known) end
    -- They have gone out with another id, which their report may bring to any process. As long as a late one settles.
    local packed = cmsgpack.pack({ phase = 'alias', of = knownKey })
    aliases[#aliases + 1] = { key = reservationKey, packed = packed, forMs = 2 * asked.leaseMs }
    return known_as(known)
  end
  local forMs = 2 * asked.leaseMs + ORPHANED_MS
  local placements = {}
  for index, part in ipairs(asked.holds) do
    local partition = partitions[part.at]
    local slice = slice_of(part)
    if slice then slice.left = math.max(0, slice.left - part.amount) end
    local placement = {
      key = partition.key, amount = part.amount, limit = part.limit, window = part.window, unit = part.unit,
      generation = part.generation, cell = part.cell,
      -- A slice of an open window that is gone has given its places back.
      counted = (slice or not is_open(part.window)) and part.amount or 0,
    }
    local state = load_state(partition.key)
    if state and belongs(state, placement) then
      state.holders = state.holders + 1
      state.heldUntilMs = math.max(state.heldUntilMs, partition.nowMs + forMs)
    end
    placements[index] = placement
  end
  reservations[#reservations + 1] = {
    key = reservationKey, idempotencyKey = not asked.part and idempotencyKey,
    dueMs = asked.admittedMs + asked.leaseMs, forMs = forMs,
    packed = cmsgpack.pack({
      id = asked.id, idempotencyKey = idempotencyKey, phase = 'open',
      carriers = asked.carriers, repeated = not asked.carriers or #asked.carriers > 1,
      admittedMs = asked.admittedMs, leaseMs = asked.leaseMs, shadowShort = {}, placements = placements,
      context = context, quotas = quotas, part = asked.part, elsewhere = asked.elsewhere,
    }),
  }
  return 'adopted'
end

-- Another reservation has the key. The answers that went out with this one carry its part here, and what this one holds
-- is given back. Where it has none any more, as nobody carried it, this one takes its place, since what has passed stays
-- held; if its report was here already, this is what the report ended (end.lua). What ended the other here is remembered
-- for a while only: `late`, where that may be over. Where the home has forgotten the other since, it had a part here that
-- has ended too: had there been none, its report would have left word, for as long as this one can come, and until it
-- has it is told again, which the home remembers.
local function move(asked, ownKey, otherKey)
  local own = load_reservation(ownKey)
  local other = asked.to and load_reservation(otherKey)
  local isThere = other and other.phase ~= 'abandoned'
  if isThere then
    carry_all(other, asked.carriers)
    repeats[#repeats + 1] = { key = otherKey, packed = cmsgpack.pack(other) }
  end
  if not is_live(own) then return 'moved' end
  local actuals = other and other.actuals
  local takesPlace = asked.to and not asked.over and not isThere and not actuals
  if takesPlace and (call.momentMs or clockMs) >= asked.beforeMs then return 'late' end
  gone[#gone + 1] = ownKey
  if takesPlace then
    own.id, own.barred = asked.to, nil
    -- Its own call may come yet, unless that was given up here.
    own.moved = not other or nil
    own.carriers, own.repeated = asked.carriers, not asked.carriers or #asked.carriers > 1
    local leases = own.phase == 'open' and 1 or 2
    reservations[#reservations + 1] = {
      key = otherKey, dueMs = own.admittedMs + leases * own.leaseMs, forMs = 2 * own.leaseMs + ORPHANED_MS,
      packed = cmsgpack.pack(own),
    }
    return 'moved'
  end
  for index, part in ipairs(asked.holds) do
    local placement, nowMs = own.placements[index], partitions[part.at].nowMs
    local actual = actuals and not isThere and (actuals[placement.unit] or placement.amount) or 0
    end_placement(placement, own.phase, actual, nowMs)
    let_go(placement, nowMs)
  end
  if actuals and not isThere then
    -- Once: a third process may come with its own, and the report again.
    own.phase = 'ended'
    repeats[#repeats + 1] = { key = otherKey, packed = cmsgpack.pack(own) }
  end
  return 'moved'
end
