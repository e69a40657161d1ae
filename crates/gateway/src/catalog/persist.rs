//! Listings on disk, so that a server that is down when the gate starts keeps its place.
//!
//! One file per server, `catalogs/<server>.json` in the data directory, replaced as a whole. A file counts only for the
//! configuration it was fetched under. It is a cache: whatever is wrong with it, the server is simply asked again.

use std::{fs, io, path::Path, sync::Arc};

use aws_lc_rs::digest;
use bytes::Bytes;
use gatepost_protocol::{
    json::{self, Span, Strictness},
    version::Version,
};

use super::{
    listing::{Bounds, Build, List, Listing},
    source::{About, ListKind},
};

/// Raised when the file's shape changes; older files are then ignored.
const FORMAT: &[u8] = b"1";

/// What a listing was fetched from, in few characters: a digest of the server's configuration as it prints, which is
/// without secrets. Another command or URL makes another; a rotated token does not.
pub(crate) fn identity(server: &gatepost_config::Server) -> String {
    let text = format!("{:?} {:?}", server.kind, server.era);
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The listing as a file.
pub(super) fn encode(listing: &Listing, identity: &str) -> Vec<u8> {
    let mut out = b"{\"format\":".to_vec();
    out.extend_from_slice(FORMAT);
    let mut member = |key: &[u8], value: &[u8]| {
        out.extend_from_slice(b",\n\"");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    };
    let about = &listing.about;
    member(b"identity", &json::quote(identity));
    member(b"version", about.version.as_json());
    member(b"capabilities", &about.capabilities);
    if let Some(info) = &about.info {
        member(b"serverInfo", info);
    }
    if let Some(instructions) = &about.instructions {
        member(b"instructions", &json::quote(instructions));
    }
    let extra: Vec<Vec<u8>> = about
        .extra
        .iter()
        .map(|(key, value)| [&*json::quote(key), b":", value].concat())
        .collect();
    member(b"extra", &[b"{", &*extra.join(&b','), b"}"].concat());
    for kind in ListKind::ALL {
        member(kind.member().as_bytes(), &encode_list(listing.list(kind)));
    }
    out.extend_from_slice(b"}\n");
    out
}

fn encode_list(list: &List) -> Vec<u8> {
    let mut out = b"{\"private\":".to_vec();
    out.extend_from_slice(if list.private { b"true" } else { b"false" });
    if let Some(ttl) = list.ttl {
        out.extend_from_slice(format!(",\"ttlMs\":{}", ttl.as_millis()).as_bytes());
    }
    if let Some(meta) = &list.meta {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(meta);
    }
    out.extend_from_slice(b",\"extra\":{");
    let extra: Vec<Vec<u8>> = list
        .extra
        .iter()
        .map(|(key, value)| [key, &b":"[..], value].concat())
        .collect();
    out.extend_from_slice(&extra.join(&b','));
    out.extend_from_slice(b"},\"items\":[");
    for (at, item) in list.items.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
        out.extend_from_slice(&item.raw);
    }
    out.extend_from_slice(b"]}");
    out
}

/// What [`encode`] wrote, if it was for the same configuration. `remote`: whether the server is reached over HTTP.
pub(super) fn decode(raw: &Bytes, identity: &str, remote: bool) -> Option<Listing> {
    let span = json::validate(raw, Strictness::Server).ok()?;
    let members = json::object(raw, span).ok()?;
    let of_kind = |key, kind| {
        members
            .get(raw, key)
            .filter(|span| json::kind(raw, *span) == Some(kind))
    };
    if members.get(raw, "format")?.of(raw) != FORMAT
        || !json::equals(raw, members.get(raw, "identity")?, identity)
    {
        return None;
    }
    let slice = |span: Span| raw.slice(span.start()..span.end());
    let about = About {
        version: Version::parse(&json::text(raw, members.get(raw, "version")?)?)?,
        capabilities: slice(of_kind("capabilities", json::Kind::Object)?),
        info: of_kind("serverInfo", json::Kind::Object).map(slice),
        instructions: members
            .get(raw, "instructions")
            .and_then(|span| json::text(raw, span))
            .map(Arc::from),
        extra: object_pairs(raw, members.get(raw, "extra")?)?
            .filter_map(|(key, value)| Some((json::text(raw, key)?.into(), slice(value))))
            .collect(),
    };
    let mut lists = ListKind::ALL.map(|_| Arc::default());
    for kind in ListKind::ALL {
        lists[kind as usize] = Arc::new(decode_list(
            raw,
            of_kind(kind.member(), json::Kind::Object)?,
            kind,
            about.version.is_modern() && remote,
        )?);
    }
    Some(Listing { about, lists })
}

fn decode_list(raw: &Bytes, span: Span, kind: ListKind, modern_http: bool) -> Option<List> {
    let members = json::object(raw, span).ok()?;
    let slice = |span: Span| raw.slice(span.start()..span.end());
    let mut build = Build::new(kind, modern_http, Bounds::default());
    for item in json::items(raw, members.get(raw, "items")?) {
        build.item(slice(item));
    }
    let mut list = build.finish();
    list.private = members.get(raw, "private")?.of(raw) == b"true";
    list.ttl = members
        .get(raw, "ttlMs")
        .and_then(|span| super::listing::milliseconds(span.of(raw)));
    list.meta = members.get(raw, "meta").map(slice);
    list.extra = object_pairs(raw, members.get(raw, "extra")?)?
        .map(|(key, value)| (slice(key), slice(value)))
        .collect();
    Some(list)
}

fn object_pairs(raw: &[u8], span: Span) -> Option<impl Iterator<Item = (Span, Span)>> {
    let members = json::object(raw, span).ok()?;
    let pairs: Vec<_> = members.iter().map(|member| (member.key, member.value)).collect();
    Some(pairs.into_iter())
}

/// Reads a server's listing, if there is a usable one.
pub(super) fn load(folder: &Path, server: &str, identity: &str, remote: bool) -> Option<Listing> {
    match fs::read(folder.join(file_name(server))) {
        Ok(raw) => {
            let listing = decode(&raw.into(), identity, remote);
            if listing.is_none() {
                tracing::debug!(
                    server,
                    "the kept listing is of another configuration or damaged, and is ignored"
                );
            }
            listing
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(server, %error, "failed to read the kept listing in {}", folder.display());
            None
        }
    }
}

/// Writes a server's listing: beside the old file first, then in its place, so that whoever reads sees a whole one.
///
/// # Errors
/// When the folder cannot be made or written.
pub(super) fn save(folder: &Path, server: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name = file_name(server);
    let temporary = folder.join(format!("{name}.new"));
    write_private(&temporary, bytes)?;
    fs::rename(temporary, folder.join(name))
}

/// Descriptions may say more than everybody on this machine should know.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(path)?, bytes)
}

/// A server's name as a file's name: what could mean something to a file system is written as `%xx`.
fn file_name(server: &str) -> String {
    let mut name = String::with_capacity(server.len() + 5);
    for byte in server.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name + ".json"
}

#[cfg(test)]
mod tests;
