//! Any text as a configuration, and as one to import: nothing panics, a problem is never told in an empty line, and what import
//! makes of a client's file is YAML that can be read again.
#![no_main]

use std::{ffi::OsString, path::Path};

use gatepost_config::{Config, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // What the files of this machine hold is no part of the input.
    if text.contains("include") || text.contains("file:") {
        return;
    }
    let environment = |name: &str| (name.len() % 2 == 0).then(|| OsString::from("a value"));
    let parse = |text: &str| Config::parse_in(Path::new("/nowhere"), text, &environment);
    match parse(text) {
        Ok(config) => drop(format!("{config:?}")),
        Err(problems) => assert!(!problems.to_string().trim().is_empty()),
    }
    if let Ok(imported) = import(text, "secrets") {
        let _ = parse(&imported.yaml);
    }
});
