//! Servers that are built into Gatepost, each a cargo feature.
