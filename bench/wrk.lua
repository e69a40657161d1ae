-- tools/call for wrk: `wrk -t1 -c32 -d10s -s bench/wrk.lua URL -- TOOL`, URL and TOOL as `gatepost-bench up` prints them.
local tool = "echo"

function init(arguments)
  tool = arguments[1] or tool
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json, text/event-stream"
  wrk.headers["MCP-Protocol-Version"] = "2026-07-28"
  wrk.headers["Mcp-Method"] = "tools/call"
  wrk.headers["Mcp-Name"] = tool
  wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"' .. tool ..
    '","arguments":{"location":"Seattle, WA","days":3,"units":"metric"},' ..
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",' ..
    '"io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"4"},' ..
    '"io.modelcontextprotocol/clientCapabilities":{}}}}'
end
