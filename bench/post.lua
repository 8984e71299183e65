-- Posts files in turn, and prints the results as one line of JSON.
-- wrk … -s post.lua URL -- raw|form FILE…

local bodies = {}
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for index = 2, #arguments do
    local file = assert(io.open(arguments[index], "rb"))
    local body, kind = file:read("*a"), "application/octet-stream"
    file:close()
    if arguments[1] == "form" then
      body = "--part\r\nContent-Disposition: form-data; name=\"image\"; filename=\"image.jpg\"\r\n"
        .. "Content-Type: image/jpeg\r\n\r\n" .. body .. "\r\n--part--\r\n"
      kind = "multipart/form-data; boundary=part"
    end
    table.insert(bodies, wrk.format("POST", wrk.path, { ["Content-Type"] = kind }, body))
  end
  turn = 0
  refused = 0
end

function request()
  turn = turn + 1
  return bodies[(turn - 1) % #bodies + 1]
end

function response(status)
  if status ~= 200 then refused = refused + 1 end
end

function done(summary, latency)
  local refused = 0
  for _, thread in ipairs(threads) do refused = refused + thread:get("refused") end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "refused": %d, "failed": %d, "p50": %.6f, "p99": %.6f}\n',
    summary.requests, summary.duration / 1e6, refused, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
