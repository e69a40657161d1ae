//! The data path of Gatepost: transport, identity, pipeline, routing, upstream.
