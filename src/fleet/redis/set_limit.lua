-- Sets the limit. A translation of `LedgerState::set_limit`. `now` comes from clock.lua, which stands in front of this text.
-- KEYS[1] is the hash of exchange.lua; ARGV has the limit and the name of the operator. Returns the version.
local key = KEYS[1]
local packed = redis.call('HGET', key, 'm')
local gate = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -2, 0, '', '', '', '', '' }
if packed then
  local is_packed
  is_packed, gate = pcall(function() return { cmsgpack.unpack(packed) } end)
  if not is_packed or gate[1] ~= 1 or #gate ~= 19 then
    return redis.error_reply('LAYOUT the gate has another layout, and this program knows 1')
  end
end
local version = math.max(gate[9] + 1, now)
-- The level follows from the limit, so it must be computed again.
gate[8], gate[9], gate[13] = tonumber(ARGV[1]), version, -2
redis.call('HSET', key, 'm', cmsgpack.pack(unpack(gate)), 'by', ARGV[2])
return version
