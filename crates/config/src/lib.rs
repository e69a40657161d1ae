//! gatepost.yaml: a strict file form, a checked runtime form, its JSON Schema.
