//! Files as resources: `file:///` and the path from the folder, percent-encoded (RFC 8089, RFC 3986).

use std::{collections::VecDeque, io::Read};

use base64::{Engine, prelude::BASE64_STANDARD};
use gatepost::rmcp::model::{Resource, ResourceContents, ResourceTemplate};
use thiserror::Error;

use super::{
    mime,
    root::{Kind, Opened, PathError, Root},
    text,
};

pub(super) const URI: &str = "file:///";

/// Resources on a page.
const PAGE: usize = 200;
/// How many files are listed at all. More are of no use to whoever picks one; they are found by search and read by address.
const MAX_LISTED: usize = 1_000;
/// How many directories are opened for a list.
const MAX_DIRECTORIES: usize = 2_000;
/// How many names of one directory are looked at.
const MAX_NAMES: usize = 10_000;
/// The largest file that is given whole, in bytes.
pub(super) const MAX_WHOLE: u64 = 1024 * 1024;
/// One more than a completion may have, to know whether there are more.
const MAX_COMPLETIONS: usize = 101;

/// Why a file is not given as a resource.
#[derive(Debug, Error)]
pub(super) enum ResourceError {
    #[error(
        "`{0}` is no file here; the address of a file is {URI} and its path from the folder, percent-encoded"
    )]
    Address(String),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(
        "`{path}` has {size} bytes, more than the {MAX_WHOLE} that are given whole; read_file reads texts in parts"
    )]
    TooLarge {
        /// The file.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// The files from number `start` on, those nearest to the folder's top first, and where the next page starts.
pub(super) fn list(
    root: &Root,
    start: usize,
    cancelled: &dyn Fn() -> bool,
) -> (Vec<Resource>, Option<usize>) {
    let (mut resources, mut number, mut opened) = (Vec::new(), 0, 0);
    let mut queue = VecDeque::from([String::new()]);
    while let Some(path) = queue.pop_front() {
        opened += 1;
        if opened > MAX_DIRECTORIES || cancelled() {
            break;
        }
        // What cannot be read has nothing to show.
        let Ok(directory) = root.find_directory(&path) else {
            continue;
        };
        for (name, kind) in directory.names(MAX_NAMES).unwrap_or_default() {
            // A name that is no text has no address that leads back to it.
            let Some(plain) = name.to_str() else { continue };
            let path = directory.join(&name);
            match kind {
                Kind::Directory => queue.push_back(path),
                Kind::Regular => {
                    if number == MAX_LISTED {
                        return (resources, None);
                    }
                    if resources.len() == PAGE {
                        return (resources, Some(number));
                    }
                    number += 1;
                    if number <= start {
                        continue;
                    }
                    let mut resource = Resource::new(address(&path), plain).with_title(path.clone());
                    resource.mime_type = mime::of(&path).map(str::to_owned);
                    resource.size = directory
                        .stat_of(&name)
                        .ok()
                        .and_then(|stat| u64::try_from(stat.st_size).ok());
                    resources.push(resource);
                }
                Kind::Link => {}
            }
        }
    }
    (resources, None)
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new(format!("{URI}{{+path}}"), "file")
        .with_title("A file")
        .with_description(
            "The file at this path from the folder, as text or, if it is binary, in base64; at most 1 MiB.",
        )
}

/// The whole file at an address.
pub(super) fn read(root: &Root, uri: &str) -> Result<ResourceContents, ResourceError> {
    let path = path(uri).ok_or_else(|| ResourceError::Address(uri.to_owned()))?;
    let opened = root.find_file(&path)?;
    let known = mime::of(&opened.path);
    let shown = opened.path.clone();
    let (is_text, bytes) = whole(opened)?;
    let contents = if is_text {
        ResourceContents::text(String::from_utf8_lossy(&bytes), uri)
    } else {
        ResourceContents::blob(BASE64_STANDARD.encode(&bytes), uri)
    };
    tracing::debug!(path = shown, is_text, "read as a resource");
    Ok(contents.with_mime_type(mime::or_default(known, is_text)))
}

/// All of a file, if it is not too large, and whether it is text. The size is what is read, not what was said before.
pub(super) fn whole(opened: Opened) -> Result<(bool, Vec<u8>), ResourceError> {
    let Opened { file, path, stat } = opened;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let failed = |error| PathError::Io {
        path: path.clone(),
        error,
    };
    let (is_text, file) = text::sniff(file).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_WHOLE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_WHOLE {
        return Err(ResourceError::TooLarge {
            path,
            size: size.max(MAX_WHOLE + 1),
        });
    }
    Ok((is_text, bytes))
}

/// Paths that begin with `typed`; directories end with `/`, so that one may type on.
pub(super) fn complete(root: &Root, typed: &str) -> Vec<String> {
    let (parent, beginning) = typed.rsplit_once('/').unwrap_or(("", typed));
    let Ok(directory) = root.find_directory(parent) else {
        return Vec::new();
    };
    let names = directory.names(MAX_NAMES).unwrap_or_default();
    let mut paths = Vec::new();
    for (name, kind) in names {
        if paths.len() == MAX_COMPLETIONS {
            break;
        }
        let Some(plain) = name.to_str().filter(|name| name.starts_with(beginning)) else {
            continue;
        };
        let path = if parent.is_empty() {
            plain.to_owned()
        } else {
            format!("{parent}/{plain}")
        };
        match kind {
            Kind::Regular => paths.push(path),
            Kind::Directory if matches!(root.enter(&directory, &name), Ok(Some(_))) => {
                paths.push(format!("{path}/"));
            }
            Kind::Directory | Kind::Link => {}
        }
    }
    paths
}

pub(super) fn address(path: &str) -> String {
    let mut address = String::from(URI);
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                address.push(char::from(byte));
            }
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

/// The path in an address. It is decoded once, and nothing that decoding brings in is more than part of a name to
/// [`Root::find`], which knows `..` and dotfiles however they were written.
fn path(address: &str) -> Option<String> {
    let encoded = address.strip_prefix(URI)?;
    if encoded.is_empty() || encoded.starts_with('/') || encoded.contains(['?', '#']) {
        return None;
    }
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            // A `/` inside a name does not exist.
            bytes.push(u8::try_from(value).ok().filter(|byte| *byte != b'/')?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back() {
        for name in ["a.txt", "dir/b c.md", "100%.txt", "ü/日本.txt", "a?b#c"] {
            assert_eq!(path(&address(name)).as_deref(), Some(name));
        }
        assert_eq!(address("dir/b c.md"), "file:///dir/b%20c.md");
        for uri in [
            "file:///",
            "file:////etc/passwd",
            "file://host/a",
            "http:///a",
            "file:///a%2Fb",
            "file:///%zz",
            "file:///%f",
            "file:///%ff",
            "file:///a?b",
        ] {
            assert_eq!(path(uri), None, "{uri}");
        }
    }
}
