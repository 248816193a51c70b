#!lua flags=allow-oom
-- A process has decided reservations from slices that it cannot tell of yet (../../slices/coming.ts). As long as it says
-- so, their reports are kept (find.lua).
-- KEYS: the mark of each. ARGV: the call { forMs }. Answers 'marked'.

for _, mark in ipairs(KEYS) do redis.call('SET', mark, '', 'PX', whole(call.forMs)) end
return { 'marked', clockMs }
