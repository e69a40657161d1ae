//! Pure MCP: envelope, eras, method table, framing, translation. No I/O, no async.
