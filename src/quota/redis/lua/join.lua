#!lua
-- One more answer carries a part of a reservation, also one that has ended. Says where its partitions stand.
-- KEYS: the part, the key that a reservation of the call itself has here, then the partitions that the part is in.
-- ARGV: the call { id }. Answers 'joined'; 'unknown' where there is no such part, or where the call was given up before.

local reservation = load_reservation(KEYS[1])
local own = load_reservation(KEYS[2])
if not reservation or reservation.phase == 'abandoned' or own and (own.phase == 'abandoned' or own.barred) then
  return { 'unknown', clockMs }
end
local keys, names = keys_of(reservation.placements)
local nowMs = moment_for(keys)
local gap = uncovered(names, keys, nowMs)
if gap then return gap end
local replies = figures_of(reservation.placements, nowMs)
carry(reservation, call.id)
save_carriers(KEYS[1], reservation)
return { 'joined', clockMs, nowMs, replies, reservation.shadowShort }
