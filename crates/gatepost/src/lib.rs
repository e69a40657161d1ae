//! The library to write MCP servers with and to host them in Gatepost.
