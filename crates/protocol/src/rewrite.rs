//! Changing a few places of a message and leaving every other byte as it was sent.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::json::{Members, Span, equals, quote_into};

mod message;

pub use message::{RequestRewrite, ResponseRewrite};

/// What is put in the place of a span.
type Edit<'a> = (Span, Cow<'a, [u8]>);
/// A new member: its name, and its value as raw JSON.
type Added<'a> = (&'a str, Cow<'a, [u8]>);

/// Edits of one message, collected by place and applied in one pass.
///
/// Members may be removed, replaced and added in any combination and on nested objects at once; commas come out right.
/// Added members go behind the existing ones, in the order they were added.
#[derive(Debug, Clone)]
pub struct Rewrite<'a> {
    raw: &'a [u8],
    edits: SmallVec<[Edit<'a>; 4]>,
    // Most messages lose or gain no member, and these would be moved with every rewrite.
    objects: Vec<ObjectEdits<'a>>,
}

#[derive(Debug, Clone)]
struct ObjectEdits<'a> {
    members: &'a Members,
    removed: Vec<&'a str>,
    added: Vec<Added<'a>>,
}

impl<'a> Rewrite<'a> {
    /// No edits yet.
    pub fn new(raw: &'a [u8]) -> Self {
        Self {
            raw,
            edits: SmallVec::new(),
            objects: Vec::new(),
        }
    }

    /// Whether nothing was asked for, so that the message could pass as it is.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
            && self
                .objects
                .iter()
                .all(|edits| edits.removed.is_empty() && edits.added.is_empty())
    }

    /// Puts `bytes` in the place of `span`. An edit inside a place that another edit replaces or removes is dropped;
    /// of two edits of one place the later counts.
    pub fn replace(&mut self, span: Span, bytes: impl Into<Cow<'a, [u8]>>) {
        self.edits.push((span, bytes.into()));
    }

    /// Removes the member `key` (every member of that name), also one that was just set.
    pub fn remove_member(&mut self, members: &'a Members, key: &'a str) {
        let exists = members.named(self.raw, key).next().is_some();
        if !exists && self.objects.is_empty() {
            return;
        }
        let object = self.object(members);
        object.added.retain(|(added, _)| *added != key);
        if exists {
            object.removed.push(key);
        }
    }

    /// Gives the member `key` the raw JSON `value`: in its place if it exists, else as a new last member.
    ///
    /// Of several members of that name, which only a lenient parse lets through, the last gets the value and the others
    /// `null`: nobody can read the old value, and doubled names cannot multiply a large new one.
    pub fn set_member(&mut self, members: &'a Members, key: &'a str, value: impl Into<Cow<'a, [u8]>>) {
        let value = value.into();
        let mut last: Option<Span> = None;
        for member in members.named(self.raw, key) {
            if let Some(earlier) = last.replace(member.value) {
                self.replace(earlier, &b"null"[..]);
            }
        }
        if let Some(place) = last {
            self.replace(place, value);
            if let Some(object) = self
                .objects
                .iter_mut()
                .find(|edits| edits.members.span() == members.span())
            {
                object.removed.retain(|removed| *removed != key);
            }
            return;
        }
        let object = self.object(members);
        match object.added.iter_mut().find(|(added, _)| *added == key) {
            Some(added) => added.1 = value,
            None => object.added.push((key, value)),
        }
    }

    fn object(&mut self, members: &'a Members) -> &mut ObjectEdits<'a> {
        let place = self
            .objects
            .iter()
            .position(|edits| edits.members.span() == members.span());
        let place = place.unwrap_or_else(|| {
            self.objects.push(ObjectEdits {
                members,
                removed: Vec::new(),
                added: Vec::new(),
            });
            self.objects.len() - 1
        });
        &mut self.objects[place]
    }

    /// The message with all edits applied.
    pub fn finish(&self) -> Bytes {
        if let ([(span, bytes)], []) = (&*self.edits, &*self.objects)
            && let (Some(before), Some(after)) = (self.raw.get(..span.start()), self.raw.get(span.end()..))
        {
            return [before, bytes, after].concat().into();
        }
        let mut edits: SmallVec<[Edit<'_>; 12]> = SmallVec::new();
        edits.extend(
            self.edits
                .iter()
                .map(|(span, bytes)| (*span, Cow::Borrowed(&**bytes))),
        );
        for object in &self.objects {
            object.edits(self.raw, &mut edits);
        }
        // Where two begin at one place the wider comes first and swallows the other; insertions keep their order.
        edits.sort_by(|(a, _), (b, _)| a.start().cmp(&b.start()).then(b.end().cmp(&a.end())));
        let grown: usize = edits.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut out = Vec::with_capacity(self.raw.len() + grown);
        let mut at = 0;
        for (index, (span, bytes)) in edits.iter().enumerate() {
            let overruled = !span.is_empty() && edits.get(index + 1).is_some_and(|(next, _)| next == span);
            if overruled {
                continue;
            }
            let Some(kept) = self.raw.get(at..span.start()) else {
                continue;
            };
            out.extend_from_slice(kept);
            out.extend_from_slice(bytes);
            at = span.end();
        }
        out.extend_from_slice(self.raw.get(at..).unwrap_or_default());
        out.into()
    }
}

impl<'a> ObjectEdits<'a> {
    fn edits(&self, raw: &[u8], edits: &mut SmallVec<[Edit<'_>; 12]>) {
        let mut kept = false;
        let mut end = self.members.span().start() + 1;
        let mut list = self.members.iter().peekable();
        while let Some(member) = list.next() {
            if !self.removed.iter().any(|key| equals(raw, member.key, key)) {
                kept = true;
            } else if kept {
                // With the comma before it.
                edits.push((Span::new(end, member.value.end()), Cow::Borrowed(b"")));
            } else {
                // With the comma behind it, if something follows.
                let until = list.peek().map_or(member.value.end(), |next| next.key.start());
                edits.push((Span::new(member.key.start(), until), Cow::Borrowed(b"")));
            }
            end = member.value.end();
        }
        if self.added.is_empty() {
            return;
        }
        let mut text = Vec::new();
        for (key, value) in &self.added {
            if kept {
                text.push(b',');
            }
            kept = true;
            quote_into(&mut text, key);
            text.push(b':');
            text.extend_from_slice(value);
        }
        edits.push((Span::new(end, end), Cow::Owned(text)));
    }
}

#[cfg(test)]
mod tests;
