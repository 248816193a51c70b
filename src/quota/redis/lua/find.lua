#!lua flags=allow-oom
-- The reservation, while it is open or its late report would still settle it. It writes nothing, and is not run where
-- Redis takes no writes (MISCONF, READONLY, NOREPLICAS): what was decided from slices cannot come there either, so what
-- is not there is not known to be unknown. A full Redis takes what was decided (turn.lua), and ends it (end.lua).
-- KEYS: reservation. ARGV: the call { coming = the key of the mark that it comes (coming.lua) }. The mark is no key of
-- KEYS: it is hardly ever there, and in a slot that is being moved no reservation would be found then.
-- Answers 'found', under the reservation's own id, 'coming', or 'unknown'.

local reservation = find_reservation(KEYS[1])
if is_live(reservation) then return { 'found', clockMs, told(reservation) } end
if not reservation and redis.call('GET', call.coming) then return { 'coming', clockMs } end
return { 'unknown', clockMs }
