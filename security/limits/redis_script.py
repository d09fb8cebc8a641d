"""The debit as Redis runs it, and its numbers as bytes, both ways.

A question is ``EVALSHA`` with the chain's keys and two texts of numbers (doubles, little end first): what the chain is, which is
the same each time, and what is of this moment. Its answer is one text of numbers.

>>> question = Question(DEBIT, [b"{gw}clock", b"{gw}a"], [(KINDS["gcra"], 1, 0, 36, 3600, 0, 0)])
>>> question.head[:20], question.length
(b'*7\\r\\n$7\\r\\nEVALSHA\\r\\n$40', 79)
>>> len(question.numbers), question.announced
(64, b'$72\\r\\n')
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from struct import Struct

from security.limits import CONCURRENT, FIXED_WINDOW, GCRA, SLIDING_LOG

#: Milliseconds that a bucket is kept for when it owes nothing any more.
KEPT_MS = 3_600_000
DEBIT, PEEK, ADD, RELEASE = range(4)
KINDS = {GCRA: 0, FIXED_WINDOW: 1, SLIDING_LOG: 2, CONCURRENT: 3}

# KEYS: the clock, then one a bucket. ARGV[1]: mode, then for each bucket kind, cost, shadow and four numbers. ARGV[2]: the number
# of the question, how often the clock had been mended when its caller was told the time, the time that it must be, at least and at
# most. ARGV[3], where something is counted that runs: whose it is.
# A bucket is a text "moment debt interval" (gcra: microseconds, nanoseconds, nanoseconds), "end hits" (fixed-window:
# microseconds), a list of "moment" by hit (sliding-log), or a sorted set of ids by their end (concurrent).
# The answer: the number of the question, the wait, the time, how often it was mended; then five numbers a bucket.
# PERF: 13, 25 and 38 us of the server's for chains of one, three and five; 18, 40 and 70 with digits as arguments and answers.
SCRIPT = """
local time = redis.call('TIME')
local call, match, format, number = redis.call, string.match, string.format, tonumber
local max, min, ceil, read = math.max, math.min, math.ceil, struct.unpack
local wall = time[1] * 1000000 + time[2]
local chain, at, mode = ARGV[1], 9, read('<d', ARGV[1])
local question, told, expected, least, most = read('<ddddd', ARGV[2])
local shift, mended = match(call('GET', KEYS[1]) or '0 0', '(%S+) (%S+)')
mended = number(mended)
local now = wall - number(shift)
if told == mended and (now < least or now > most) then
  -- The clock was set. What is due is never more than what has passed, so nothing is given away.
  now, mended = expected, mended + 1
  call('SET', KEYS[1], format('%.0f %.0f', wall - expected, mended))
end
local answer, n, writes, settled, violated, wait = {'', question, 0, now, mended}, 5, {}, {}, false, 0
for i = 2, #KEYS do
  local key, kind, cost, shadow, a, b, c, d = KEYS[i]
  kind, cost, shadow, a, b, c, d, at = read('<ddddddd', chain, at)
  local before, after, reset, late, missing = 0, 0, 0, 0, 0
  if kind == 0 then
    -- gcra. a: interval, b: capacity, in nanoseconds
    local held = call('GET', key)
    if held then
      local moment, owed, interval = match(held, '(%S+) (%S+) (%S+)')
      moment, owed, interval = number(moment), number(owed), number(interval)
      before = max(0, owed - max(0, now - moment) * 1000)
      -- A moment that is yet to come is of a time that was taken out: what was owed then is owed from now on.
      if moment > now then
        settled[#settled + 1] = {'SET', key, format('%.0f %.0f %.0f', now, owed, interval), 'PX', ceil(owed / 1000000) + KEPT}
      end
      if interval ~= a then before = min(ceil(before * a / interval), b) end
    end
    after = before + cost * a
    if mode == 2 then after = max(0, min(after, 2 * b)) end
    missing = after - b
    if missing <= 0 or mode == 2 then
      writes[#writes + 1] = {'SET', key, format('%.0f %.0f %.0f', now, after, a), 'PX', ceil(after / 1000000) + KEPT}
    else after = before end
  elseif kind == 1 then
    -- fixed-window. a: count; b, c, d: beginning and end of the caller's window, end of the next, in microseconds of the day's time
    local used, ends, since = 0, 0, false
    local held = call('GET', key)
    if held then
      local stored, hits = match(held, '(%S+) (%S+)')
      stored, hits = number(stored), number(hits)
      if stored > now then used, ends = hits, stored else since = now - stored end
    end
    if ends == 0 then
      local length, left, following = d - c, b - wall, c - wall
      if left <= 0 then left, following = c - wall, d - wall end
      -- Clocks that are further apart than a window agree on none.
      if left <= 0 or left > 2 * length then left, following = length, 2 * length end
      -- What ends for the bucket and begins anew by the calendar within a window's length was set: see Calendar.remaining_ns.
      if since and since + left < length * 0.85 then left = following end
      ends = now + left
    end
    before, reset, late = used, (ends - now) * 1000, (ends - now) * 1000
    if used + cost <= a or mode == 2 then
      after = max(0, min(used + cost, 2 * a))
      writes[#writes + 1] = {'SET', key, format('%.0f %.0f', ends, after), 'PX', ceil((ends - now) / 1000) + KEPT}
    else after, missing = used, max(1, (ends - now) * 1000) end
  elseif kind == 2 then
    -- sliding-log. a: count, b: period in microseconds. Reading drops what is old: that is no change.
    local first = number(call('LINDEX', key, 0) or now + 1)
    while first + b <= now do
      call('LPOP', key)
      first = number(call('LINDEX', key, 0) or now + 1)
    end
    local used = call('LLEN', key)
    before, after = used, used
    if used > 0 then reset = (first + b - now) * 1000 end
    late = b * 1000
    if used + cost <= a then
      after = used + cost
      local moment = max(now, number(call('LINDEX', key, -1) or 0))
      if moment > now + b then moment = now end
      local push = {'RPUSH', key}
      for hit = 1, cost do push[#push + 1] = format('%.0f', moment) end
      writes[#writes + 1] = push
      writes[#writes + 1] = {'PEXPIRE', key, ceil((moment - now + b) / 1000) + KEPT}
    else
      local freed = number(call('LINDEX', key, used + cost - a - 1))
      missing = max(1, (freed + b - now) * 1000)
      late = reset
    end
  elseif mode == 3 then
    call('ZREM', key, ARGV[3])
  else
    -- concurrent. a: count, b: how long one is counted at most, in milliseconds
    call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now))
    local used = call('ZCARD', key)
    before, after = used, used
    if used + cost <= a then
      after = used + cost
      writes[#writes + 1] = {'ZADD', key, format('%.0f', now + b * 1000), ARGV[3]}
      writes[#writes + 1] = {'PEXPIRE', key, b + KEPT}
    else missing = 1000000000 end
  end
  if missing > 0 and shadow == 0 and mode ~= 2 then
    violated = true
    wait = max(wait, missing)
  end
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4], answer[n + 5] = missing > 0 and 1 or 0, before, after, reset, late
  n = n + 5
end
if mode ~= 1 then
  for _, write in ipairs(settled) do call(unpack(write)) end
end
if (mode == 0 and not violated) or mode == 2 then
  for _, write in ipairs(writes) do call(unpack(write)) end
end
answer[1], answer[3] = '<' .. string.rep('d', n - 1), wait
return struct.pack(unpack(answer))
""".replace("KEPT", str(KEPT_MS))

#: A bucket in a question; what is of the moment, and the number before it; the members of an answer's beginning and of each bucket.
_BUCKET, MOMENT, NUMBER = Struct("<7d"), Struct("<4d"), Struct("<d")
HEAD, EACH = 4, 5


class Question:
    """What a chain asks each time: *keys* of its buckets after the clock's, and seven *numbers* of each.

    *head* is all that goes before the moment, *announced* what an answer begins with, *length* how long it is as a whole.
    With *named* the identifier of what runs comes last.
    """

    __slots__ = ("announced", "head", "keys", "length", "named", "numbers", "read")

    def __init__(
        self, mode: int, keys: Sequence[bytes], buckets: Sequence[Sequence[float]], *, named: bool = False
    ) -> None:
        self.keys = keys
        self.named = named
        self.numbers = NUMBER.pack(mode) + b"".join([_BUCKET.pack(*one) for one in buckets])
        words = (b"EVALSHA", digest(SCRIPT), b"%d" % len(keys), *keys, self.numbers)
        texts = b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
        moment = NUMBER.size + MOMENT.size
        self.head = b"*%d\r\n%b$%d\r\n" % (len(words) + 1 + named, texts, moment)
        answer = _answer(len(buckets))
        self.read = answer.unpack_from
        self.announced = b"$%d\r\n" % answer.size
        self.length = len(self.announced) + answer.size + 2


@cache
def _answer(buckets: int) -> Struct:
    return Struct(f"<{HEAD + EACH * buckets}d")


@cache
def digest(script: str) -> bytes:
    """The name that Redis gives to a script."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest().encode()
