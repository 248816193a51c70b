#!lua flags=allow-oom
-- Ends a reservation, or the part of it that is in this bucket, once: by its report, or because no answer carries it
-- any more (`abandoned`, the call whose answer reached nobody).
-- KEYS: reservation, leases, the key that a reservation of the call itself has here, idempotency key, then the
-- partitions that it is in, as far as the process knows them.
-- ARGV: the call { actuals = units to amounts, released, abandoned, byKey, bars, by, rememberMs }. `byKey`: the call may have
-- found an earlier reservation by its idempotency key instead of making its own. `bars`: by a report, away from its home:
-- what comes here in its place after it has ended as well (adoptions.lua). `by`: which report it is; one that ended it
-- before is told of it again, since its answer may have been lost.
-- Answers 'ended' or 'unknown'; 'left' where other answers carry it; 'kept' where nothing may be taken away: it ended, or
-- not all are known that carry it.

local leasesKey, ownKey = KEYS[2], KEYS[3]
local reservation, reservationKey = find_reservation(KEYS[1])
local abandoned = call.abandoned

if call.byKey and not reservation then
  local knownKey = redis.call('GET', KEYS[4])
  if knownKey then reservationKey, reservation = knownKey, load_reservation(knownKey) end
end

-- Nothing more may be under the key. `ended`: what its report said, where one ended it.
local function bar_key(key, forMs, ended)
  local word = ended or {}
  word.phase = 'abandoned'
  keep(key, cmsgpack.pack(word), forMs)
end

-- What comes of a call after it was given up must hold nothing and carry nothing. What it still holds itself here is given
-- back by another call, and leaves the same word.
local function bar()
  local own = load_reservation(ownKey)
  if not own then
    bar_key(ownKey, call.rememberMs)
  elseif ownKey ~= reservationKey and is_live(own) then
    own.barred = true
    save_carriers(ownKey, own)
  end
end

-- It has ended, and another part may not have answered: until that has, it must not look as if it had never been here.
local function remember_longer()
  redis.call('PEXPIRE', reservationKey, whole(call.rememberMs + KEPT_MS), 'GT')
end

local isAgain = call.by and reservation and not is_live(reservation) and reservation.by == call.by

if not isAgain and not is_live(reservation) then
  if not abandoned then
    if call.bars and (not reservation or reservation.phase == 'abandoned') then
      -- There is hardly ever none, and what comes in its place may be of a process that stood still: as long as it can.
      bar_key(KEYS[1], ORPHANED_MS, { actuals = call.actuals })
    elseif reservation and reservation.phase == 'ended' then
      -- By a report that came twice, or by what was told late.
      remember_longer()
    end
    return { 'unknown', clockMs }
  end
  bar()
  return { reservation and reservation.phase == 'ended' and 'kept' or 'unknown', clockMs }
end
if abandoned then
  local carriers = carriers_of(reservation)
  if not carriers then return { 'kept', clockMs } end
  if not is_carried_by(reservation, abandoned) then
    if reservation.moved and reservationKey == ownKey then
      reservation.moved = nil
      save_carriers(reservationKey, reservation)
    else
      bar()
    end
    return { 'left', clockMs }
  end
  if #carriers > 1 then
    local others = {}
    for _, each in ipairs(carriers) do
      if each ~= abandoned then others[#others + 1] = each end
    end
    set_carriers(reservation, others)
    save_carriers(reservationKey, reservation)
    return { 'left', clockMs }
  end
end

-- Of what was released only the word is left.
local placements = reservation.placements or {}
local keys, names = keys_of(placements)
local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end

if isAgain then
  remember_longer()
  return { 'ended', clockMs, nowMs, reservation.late, figures_of(placements, nowMs) }
end

for _, placement in ipairs(placements) do
  -- Nobody knows, or this release of Tollgate does not know the unit: it came to what it held.
  local actual = call.actuals[placement.unit] or placement.amount
  end_placement(placement, reservation.phase, actual, nowMs)
  let_go(placement, nowMs)
end
local late = reservation.phase == 'unsettled' and 1 or 0
reservation.by, reservation.late = call.by, late
local ownsKey = owns_key(reservation, reservationKey)
reservation.phase = 'ended'
local packed = cmsgpack.pack(reservation)

save_states(placements, nowMs)
redis.call('ZREM', leasesKey, reservationKey)
if call.released then
  -- What was released holds nothing any more: a repeated call that found it would pass uncharged.
  if ownsKey then redis.call('DEL', reservation.idempotencyKey) end
  -- Its home tells the report so again.
  local by = not call.bars and call.by
  if by or reservation.barred then
    bar_key(reservationKey, call.rememberMs, { by = by, late = late })
  else
    redis.call('DEL', reservationKey)
  end
  if call.bars then bar_key(KEYS[1], call.rememberMs, { actuals = call.actuals }) end
else
  keep(reservationKey, packed, call.rememberMs)
  if ownsKey then keep(reservation.idempotencyKey, reservationKey, call.rememberMs) end
end
return { 'ended', clockMs, nowMs, late, figures_of(placements, nowMs) }
