//! The JSON Schema of `gatepost.yaml`, made from the same declarations that read it.

use serde_json::{Value, json};

use crate::{file::Root, reader::Setting, settings::require};

/// The JSON Schema (draft 2020-12) of `gatepost.yaml`, for editors: descriptions, defaults, and every key there is.
pub fn json_schema() -> Value {
    let mut schema = Root::schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "gatepost.yaml".into();
    let server = schema["properties"]["servers"]["additionalProperties"].take();
    schema["$defs"] = json!({ "server": server });
    schema["properties"]["servers"]["additionalProperties"] = json!({ "$ref": "#/$defs/server" });
    schema["properties"]["mcpServers"] = json!({
        "description": "The same as `servers`, as clients call it.",
        "type": ["object", "null"],
        "additionalProperties": { "$ref": "#/$defs/server" },
    });
    schema["not"] = json!({ "required": ["servers", "mcpServers"] });
    // Exactly one of these makes a server what it is.
    require(
        &mut schema["$defs"]["server"],
        "oneOf",
        &["module", "command", "url"],
    );
    schema
}
