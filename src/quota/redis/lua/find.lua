#!lua flags=no-writes
-- The reservation, while it is open or its late report would still settle it.
-- KEYS: reservation. ARGV: the call { coming = the key of the mark that it comes (coming.lua) }. The mark is no key of
-- KEYS: it is hardly ever there, and in a slot that is being moved no reservation would be found then.
-- Answers 'found', under the reservation's own id, 'coming', or 'unknown'.

local reservation = find_reservation(KEYS[1])
if is_live(reservation) then return { 'found', clockMs, told(reservation) } end
if not reservation and redis.call('GET', call.coming) then return { 'coming', clockMs } end
return { 'unknown', clockMs }
