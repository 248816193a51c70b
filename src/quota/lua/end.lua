#!lua flags=allow-oom
-- Ends a reservation, or the part of it that is in this bucket, once: by its report, or because its answer was lost
-- (`abandon`).
-- KEYS: reservation, leases, then the partitions that it is in, as far as the process knows them.
-- ARGV: the call { actuals = units to amounts, released, abandon, rememberMs }.
-- Answers 'ended' or 'unknown'; 'kept' where it must not be abandoned: it ended, or another answer carries it too.

local reservationKey, leasesKey = KEYS[1], KEYS[2]
local reservation = load_reservation(reservationKey)

-- A reserve that comes after its abandon must not hold.
local function bar()
  keep(reservationKey, cmsgpack.pack({ phase = 'abandoned' }), call.rememberMs)
end

if not is_live(reservation) then
  if call.abandon and not reservation then bar() end
  return { call.abandon and reservation and reservation.phase == 'ended' and 'kept' or 'unknown', clockMs }
end
if call.abandon and reservation.repeated then return { 'kept', clockMs } end

local placements = reservation.placements
local keys, names = keys_of(placements)
local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end

for _, placement in ipairs(placements) do
  -- Nobody knows, or this release of Tollgate does not know the unit: it came to what it held.
  local actual = call.actuals[placement.unit] or placement.amount
  end_placement(placement, reservation.phase, actual, nowMs)
  let_go(placement, nowMs)
end
local late = reservation.phase == 'unsettled' and 1 or 0
local ownsKey = owns_key(reservation, reservationKey)
reservation.phase = 'ended'
local packed = cmsgpack.pack(reservation)

save_states(placements, nowMs)
redis.call('ZREM', leasesKey, reservationKey)
if call.released then
  -- What was released holds nothing any more: a repeated call that found it would pass uncharged.
  if ownsKey then redis.call('DEL', reservation.idempotencyKey) end
  if call.abandon then bar() else redis.call('DEL', reservationKey) end
else
  keep(reservationKey, packed, call.rememberMs)
  if ownsKey then keep(reservation.idempotencyKey, reservationKey, call.rememberMs) end
end
return { 'ended', clockMs, nowMs, late, figures_of(placements, nowMs) }
