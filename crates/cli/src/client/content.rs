//! What servers answer, for people: text as it is, everything else as what it is.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    failure::Failure,
    output::{self, style},
};

/// One block of content (`ContentBlock`), or one of a resource's contents. Every member is optional: what a server left
/// out must not hide what it sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    /// Base64.
    data: Option<String>,
    /// Base64.
    blob: Option<String>,
    #[serde(rename = "mimeType")]
    mime_type: Option<String>,
    uri: Option<String>,
    name: Option<String>,
    resource: Option<Box<Block>>,
}

impl Block {
    fn text(&self) -> Option<&str> {
        self.text.as_deref().or_else(|| self.resource.as_ref()?.text())
    }

    /// What it holds besides text, decoded.
    fn binary(&self) -> Option<Result<Vec<u8>, base64::DecodeError>> {
        let encoded = self.data.as_ref().or(self.blob.as_ref());
        match encoded {
            Some(encoded) => Some(STANDARD.decode(encoded)),
            None => self.resource.as_ref()?.binary(),
        }
    }

    fn uri(&self) -> Option<&str> {
        self.uri.as_deref().or_else(|| self.resource.as_ref()?.uri())
    }

    fn mime_type(&self) -> Option<&str> {
        self.mime_type
            .as_deref()
            .or_else(|| self.resource.as_ref()?.mime_type())
    }

    /// In brackets, what cannot be shown.
    fn summary(&self) -> String {
        let dim = style::DIM;
        let mut text = format!("{dim}[{}", self.kind.as_deref().unwrap_or("contents"));
        for part in [self.name.as_deref(), self.uri(), self.mime_type()]
            .into_iter()
            .flatten()
        {
            let _ = write!(text, " {}", gatepost_policy::Printable(part));
        }
        match self.binary() {
            Some(Ok(bytes)) => {
                let _ = write!(text, ", {} bytes: save with --output FILE", bytes.len());
            }
            Some(Err(error)) => {
                let _ = write!(text, ", whose Base64 is broken: {error}");
            }
            None => {}
        }
        let _ = write!(text, "]{dim:#}");
        text
    }
}

/// The blocks as text.
pub(crate) fn rendered(blocks: &[Block]) -> String {
    let mut text = String::new();
    for block in blocks {
        match block.text() {
            Some(own) => {
                text.push_str(&output::foreign(own));
                if !own.ends_with('\n') {
                    text.push('\n');
                }
            }
            None => {
                text.push_str(&block.summary());
                text.push('\n');
            }
        }
    }
    text
}

/// Writes what the blocks hold into files: the first into `file`, the next beside it, numbered. Binary blocks if there
/// are any, else the text.
pub(crate) fn save(blocks: &[Block], file: &Path) -> Result<(), Failure> {
    let mut contents = Vec::new();
    for block in blocks {
        if let Some(binary) = block.binary() {
            contents.push(binary.map_err(|error| {
                Failure::new(
                    format!("the server's Base64 is broken: {error}"),
                    "`--json` shows the answer as it is",
                )
            })?);
        }
    }
    if contents.is_empty() {
        let text: Vec<&str> = blocks.iter().filter_map(Block::text).collect();
        contents.push(text.join("\n").into_bytes());
    }
    if file == Path::new("-") {
        return contents.iter().try_for_each(|bytes| Ok(output::bytes(bytes)?));
    }
    for (at, bytes) in contents.iter().enumerate() {
        let file = numbered(file, at + 1);
        fs::write(&file, bytes).map_err(|error| {
            let message = format!("failed to write {}: {error}", file.display());
            Failure::new(
                message,
                "check the folder and its permissions, or name another file",
            )
        })?;
        output::words(&format!("wrote {} ({} bytes)\n", file.display(), bytes.len()));
    }
    Ok(())
}

/// `picture.png`, then `picture-2.png`.
fn numbered(file: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return file.to_path_buf();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = match file.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(json: serde_json::Value) -> Vec<Block> {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn text_is_text_and_the_rest_is_named() {
        let blocks = blocks(serde_json::json!([
            { "type": "text", "text": "one" },
            { "type": "image", "data": "aGVsbG8=", "mimeType": "image/png" },
            { "type": "resource_link", "uri": "file:///a", "name": "a" },
            { "type": "resource", "resource": { "uri": "file:///b", "text": "two\n" } },
            { "type": "audio", "data": "?", "mimeType": "audio/wav" },
            { "type": "hologram" },
        ]));
        let text = anstream::adapter::strip_str(&rendered(&blocks)).to_string();
        assert_eq!(
            text,
            "one\n[image image/png, 5 bytes: save with --output FILE]\n[resource_link a file:///a]\ntwo\n\
             [audio audio/wav, whose Base64 is broken: Invalid symbol 63, offset 0.]\n[hologram]\n"
        );
    }

    #[test]
    fn several_files_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.png");
        let image = |data: &str| serde_json::json!({ "type": "image", "data": data });
        save(
            &blocks(serde_json::json!([{ "type": "text", "text": "t" }, image("YQ=="), image("Yg==")])),
            &file,
        )
        .unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"a");
        assert_eq!(fs::read(folder.path().join("p-2.png")).unwrap(), b"b");
        let text = folder.path().join("t");
        save(
            &blocks(serde_json::json!([{ "uri": "x", "text": "only" }])),
            &text,
        )
        .unwrap();
        assert_eq!(fs::read(&text).unwrap(), b"only");
    }
}
