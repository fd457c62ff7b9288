-- Sets the limit. A translation of `LedgerState::set_limit`. `now` comes from clock.lua, which stands in front of this text.
-- KEYS[1] is the hash of exchange.lua; ARGV has the limit and the name of the operator. Returns the version.
local key = KEYS[1]
local meta = redis.call('HGET', key, 'm') or ('1' .. string.rep(' 0', 11) .. ' -2 0     ')
local before, version, counts, rest = string.match(meta, '^(1' .. string.rep(' %d+', 6) .. ') %d+ (%d+)( %d+ %d+ %d+) %-?%d+ (.*)$')
if not before then return redis.error_reply('LAYOUT the gate has another layout, and this program knows 1') end
version = math.max(tonumber(version) + 1, now)
-- The level follows from the limit, so it is not known now.
redis.call('HSET', key, 'm', string.format('%s %.0f %.0f%s -2 %s', before, tonumber(ARGV[1]), version, counts, rest), 'by', ARGV[2])
return version
