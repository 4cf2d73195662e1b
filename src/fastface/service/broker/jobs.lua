-- Every change of a job. Redis runs one script at a time and all of it, so that each call is one step.
--
-- KEYS[1]  what all names begin with
-- ARGV[1]  name of the call, ARGV[2] how often a job is begun at most; the rest are the call's
--
-- number, seq             counters: of events, of jobs
-- job:ID                  hash: a job's facts
-- events:ID               sorted set by number: its events as JSON
-- list:STATE[:OWNER]      sorted sets by seq: its jobs; STATE "any" has all
-- ready:OWNER, waiting    sorted set by seq: jobs that may be taken; set: owners that have such
-- delayed                 sorted set by time: jobs that wait until then
-- running                 sorted set by time: jobs that are held until then
-- claims                  hash: token -> job that is held with it
-- results                 set: names of results
-- ended                   sorted set by time: jobs that are done, by when
-- clips:ID                sorted set by seq: jobs that cut clips from that job's video
-- key:HASH                an idempotency key: JSON of what it was used for
-- workers                 sorted set by time: workers that were heard of
-- seen                    when anybody was heard of

local P = KEYS[1]
local call, most = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')  -- of one machine, whichever asks
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local SILENCE = 3.0  -- seconds without a word of anybody, after which it was Redis that was away

local function text(seconds) return string.format('%.6f', seconds) end
local function key(id) return P .. 'job:' .. id end
local function facts(id) return redis.call('HGETALL', key(id)) end
local function fact(id, name) return redis.call('HGET', key(id), name) end
local function set(id, ...) redis.call('HSET', key(id), ...) end

local function event(id, kind, data)
  local number = redis.call('INCR', P .. 'number')
  redis.call('ZADD', P .. 'events:' .. id, number, '{"number":' .. number .. ',"kind":"' .. kind .. '","at":'
    .. text(now) .. ',"data":' .. data .. '}')
  return number
end

local function enlist(id, state)
  local owner, seq, before = fact(id, 'owner'), fact(id, 'seq'), fact(id, 'state')
  if before then
    redis.call('ZREM', P .. 'list:' .. before, id)
    redis.call('ZREM', P .. 'list:' .. before .. ':' .. owner, id)
  end
  redis.call('ZADD', P .. 'list:' .. state, seq, id)
  redis.call('ZADD', P .. 'list:' .. state .. ':' .. owner, seq, id)
  set(id, 'state', state)
end

local function unready(id)
  local owner = fact(id, 'owner')
  redis.call('ZREM', P .. 'delayed', id)
  redis.call('ZREM', P .. 'ready:' .. owner, id)
  if redis.call('EXISTS', P .. 'ready:' .. owner) == 0 then redis.call('SREM', P .. 'waiting', owner) end
end

local function ready(id)
  local owner = fact(id, 'owner')
  redis.call('ZREM', P .. 'delayed', id)
  redis.call('ZADD', P .. 'ready:' .. owner, fact(id, 'seq'), id)
  redis.call('SADD', P .. 'waiting', owner)
end

local function let_go(id)
  local token = fact(id, 'token')
  if token then redis.call('HDEL', P .. 'claims', token) end
  redis.call('ZREM', P .. 'running', id)
  redis.call('HDEL', key(id), 'worker', 'token', 'lease', 'spared')
end

local function queue(id, not_before)
  let_go(id)
  enlist(id, 'queued')
  if not_before > now then redis.call('ZADD', P .. 'delayed', text(not_before), id) else ready(id) end
end

local function over(id, state, err)
  unready(id)
  let_go(id)
  enlist(id, state)
  set(id, 'cancelling', '0', 'finished', text(now))
  if err ~= '' then set(id, 'error', err) else redis.call('HDEL', key(id), 'error') end
  event(id, state, err ~= '' and err or '{}')
end

local function lost(id)  -- a worker died with this job
  local attempt = tonumber(fact(id, 'attempt'))
  if fact(id, 'cancelling') == '1' then
    over(id, 'cancelled', '')
  elseif attempt >= most then
    over(id, 'failed', '{"code":"worker_lost","message":"' .. attempt .. ' workers died with this job"}')
  else
    queue(id, 0)
    event(id, 'retried', '{"code":"worker_lost","message":"the worker died"}')
  end
end

local function hear()
  local seen = redis.call('GET', P .. 'seen')
  redis.call('SET', P .. 'seen', text(now))
  return seen and tonumber(seen)
end

local function look()  -- what time alone changes
  local seen = hear()
  local lapsed = redis.call('ZRANGEBYSCORE', P .. 'running', '-inf', '(' .. text(now))
  for _, id in ipairs(lapsed) do
    -- Nobody could be heard: each holder gets its time again, once, until it is heard.
    if seen and now - seen > SILENCE and not fact(id, 'spared') then
      local lease = text(now + tonumber(fact(id, 'seconds')))
      redis.call('ZADD', P .. 'running', lease, id)
      set(id, 'lease', lease, 'spared', '1')
    else
      lost(id)
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', text(now))) do ready(id) end
end

local function theirs(id, owner)  -- whether there is such a job; with an owner, one of theirs
  local whose = fact(id, 'owner')
  return whose and (owner == '' or whose == owner)
end

local function held(id, token) return fact(id, 'state') == 'running' and fact(id, 'token') == token end

local calls = {}

function calls.submit(owner, at_most, name, fingerprint, seconds, ...)
  local new = {...}  -- id, request, data of the event, source or ''; and so on
  local ids, out = {}, {}
  for i = 1, #new, 4 do ids[#ids + 1] = new[i] end
  local made = redis.call('EXISTS', key(ids[1])) == 1  -- this call is made again, its answer was lost
  if not made then
    if name ~= '' then
      local known = redis.call('GET', P .. 'key:' .. name)
      if known then
        known = cjson.decode(known)
        if known.fingerprint ~= fingerprint then return {'conflict'} end
        local all = true
        for _, id in ipairs(known.ids) do
          all = all and redis.call('EXISTS', key(id)) == 1
          out[#out + 1] = facts(id)
        end
        if all then return {'known', out} end
        out = {}
      end
    end
    local active = redis.call('ZCARD', P .. 'list:queued:' .. owner) + redis.call('ZCARD', P .. 'list:running:' .. owner)
    if at_most ~= '' and active + #ids > tonumber(at_most) then return {'many', active} end
    for i = 1, #new, 4 do
      local id, seq = new[i], redis.call('INCR', P .. 'seq')
      set(id, 'id', id, 'seq', seq, 'owner', owner, 'request', new[i + 1], 'created', text(now), 'attempt', '0',
        'cancelling', '0')
      if new[i + 3] ~= '' then
        set(id, 'source', new[i + 3])
        redis.call('ZADD', P .. 'clips:' .. new[i + 3], seq, id)
      end
      redis.call('ZADD', P .. 'list:any', seq, id)
      redis.call('ZADD', P .. 'list:any:' .. owner, seq, id)
      enlist(id, 'queued')
      ready(id)
      event(id, 'queued', new[i + 2])
    end
    if name ~= '' then
      redis.call('SET', P .. 'key:' .. name, cjson.encode({fingerprint = fingerprint, ids = ids}), 'EX', seconds)
    end
  end
  for _, id in ipairs(ids) do out[#out + 1] = facts(id) end
  return {'made', out}
end

function calls.list(state, owner, source, before, limit)
  local name, out = P .. 'list:' .. state, {}
  if owner ~= '' then name = name .. ':' .. owner end
  if source ~= '' then  -- few: looked through
    for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', P .. 'clips:' .. source, '(' .. before, '-inf')) do
      if redis.call('ZSCORE', name, id) then out[#out + 1] = facts(id) end
      if #out == tonumber(limit) then break end
    end
    return out
  end
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', name, '(' .. before, '-inf', 'LIMIT', 0, limit)) do
    out[#out + 1] = facts(id)
  end
  return out
end

function calls.cancel(id, owner)
  if not theirs(id, owner) then return false end
  local state = fact(id, 'state')
  if state == 'queued' then
    over(id, 'cancelled', '')
  elseif state == 'running' and fact(id, 'cancelling') == '0' then
    set(id, 'cancelling', '1')
    event(id, 'cancelling', '{}')
  end
  return facts(id)
end

function calls.remove(id, owner)
  if not theirs(id, owner) then return false end
  local state, whose, result = fact(id, 'state'), fact(id, 'owner'), fact(id, 'result')
  if state == 'queued' or state == 'running' then return {'not over', state} end
  for _, name in ipairs({'any', state}) do
    redis.call('ZREM', P .. 'list:' .. name, id)
    redis.call('ZREM', P .. 'list:' .. name .. ':' .. whose, id)
  end
  if result then redis.call('SREM', P .. 'results', result) end
  redis.call('ZREM', P .. 'ended', id)
  local source = fact(id, 'source')
  if source then redis.call('ZREM', P .. 'clips:' .. source, id) end
  redis.call('DEL', key(id), P .. 'events:' .. id)
  return {'removed', result or ''}
end

function calls.files(seconds)  -- jobs that are not over, those that are done for less than that, and results
  local jobs, done = {}, {}
  for _, state in ipairs({'queued', 'running'}) do
    for _, id in ipairs(redis.call('ZRANGE', P .. 'list:' .. state, 0, -1)) do jobs[#jobs + 1] = facts(id) end
  end
  local since = seconds == 'inf' and '-inf' or '(' .. text(now - tonumber(seconds))
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'ended', since, '+inf')) do done[#done + 1] = facts(id) end
  return {jobs, done, redis.call('SMEMBERS', P .. 'results')}
end

function calls.claim(worker, seconds, token, progress)
  local id = redis.call('HGET', P .. 'claims', token)
  if id then return facts(id) end  -- this call is made again, its answer was lost
  look()
  local fewest, oldest
  for _, owner in ipairs(redis.call('SMEMBERS', P .. 'waiting')) do
    local first = redis.call('ZRANGE', P .. 'ready:' .. owner, 0, 0, 'WITHSCORES')
    local runs, seq = redis.call('ZCARD', P .. 'list:running:' .. owner), tonumber(first[2])
    if not id or runs < fewest or (runs == fewest and seq < oldest) then
      id, fewest, oldest = first[1], runs, seq
    end
  end
  if not id then return false end
  local lease = text(now + tonumber(seconds))
  unready(id)
  enlist(id, 'running')
  redis.call('ZADD', P .. 'running', lease, id)
  redis.call('HSET', P .. 'claims', token, id)
  set(id, 'worker', worker, 'token', token, 'lease', lease, 'seconds', seconds, 'started', text(now), 'progress',
    progress)
  event(id, 'started', '{"attempt":' .. redis.call('HINCRBY', key(id), 'attempt', 1) .. '}')
  return facts(id)
end

function calls.beat(id, token, seconds, progress)
  hear()
  if not held(id, token) then return 'lost' end
  local lease = text(now + tonumber(seconds))
  redis.call('ZADD', P .. 'running', lease, id)
  redis.call('HDEL', key(id), 'spared')
  set(id, 'lease', lease, 'seconds', seconds)
  if progress ~= '' then
    local before = fact(id, 'progress_event')
    if before then redis.call('ZREMRANGEBYSCORE', P .. 'events:' .. id, before, before) end
    set(id, 'progress', progress, 'progress_event', event(id, 'progress', progress))
  end
  return fact(id, 'cancelling') == '1' and 'cancel' or 'go'
end

-- What ends a claim is remembered: where its answer was lost and it is said again, the answer is the same.
local function closing(id, token, what)
  local said = token .. ' ' .. what
  if fact(id, 'closed') == said then return false, 1 end
  if not held(id, token) then return false, 0 end
  set(id, 'closed', said)
  return true
end

function calls.finish(id, token, result)
  local go, answer = closing(id, token, 'finish ' .. result)
  if not go then return answer end
  set(id, 'result', result)
  redis.call('SADD', P .. 'results', result)
  redis.call('ZADD', P .. 'ended', text(now), id)
  over(id, 'done', '')
  return 1
end

function calls.fail(id, token, err, again)
  local go, answer = closing(id, token, 'fail')
  if not go then return answer end
  local attempt = tonumber(fact(id, 'attempt'))
  if again == '1' and attempt < most and fact(id, 'cancelling') == '0' then
    queue(id, now + 2 ^ attempt)
    event(id, 'retried', err)
  else
    over(id, 'failed', err)
  end
  return 1
end

calls['end'] = function(id, token)
  local go, answer = closing(id, token, 'end')
  if not go then return answer end
  over(id, 'cancelled', '')
  return 1
end

function calls.give_back(id, token, data)
  local go, answer = closing(id, token, 'give back')
  if not go then return answer end
  if fact(id, 'cancelling') == '1' then
    over(id, 'cancelled', '')
  else
    queue(id, 0)
    redis.call('HINCRBY', key(id), 'attempt', -1)
    event(id, 'queued', data)
  end
  return 1
end

function calls.release(worker)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGE', P .. 'running', 0, -1)) do
    if fact(id, 'worker') == worker then
      lost(id)
      count = count + 1
    end
  end
  return count
end

function calls.unsent(list, limit)  -- jobs that may be taken, and that no message tells of
  look()
  local waiting = redis.call('ZCARD', P .. 'list:queued') - redis.call('ZCARD', P .. 'delayed')
  local missing = math.min(waiting - redis.call('LLEN', list), tonumber(limit))
  local out = {}
  if missing < 1 then return out end
  for _, owner in ipairs(redis.call('SMEMBERS', P .. 'waiting')) do
    for _, id in ipairs(redis.call('ZRANGE', P .. 'ready:' .. owner, 0, missing - #out - 1)) do out[#out + 1] = id end
    if #out >= missing then break end
  end
  return out
end

function calls.here(worker, seconds)  -- a worker says that it lives, and for how long that holds; '0': it ends
  if tonumber(seconds) > 0 then
    redis.call('ZADD', P .. 'workers', text(now + tonumber(seconds)), worker)
  else
    redis.call('ZREM', P .. 'workers', worker)
  end
  return 1
end

function calls.workers()
  redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', text(now))
  return redis.call('ZRANGE', P .. 'workers', 0, -1)
end

return calls[call](unpack(ARGV, 3))
