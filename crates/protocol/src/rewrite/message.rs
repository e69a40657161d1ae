//! Rewriting a request or a response by the names of its parts.

use std::borrow::Cow;

use bytes::Bytes;

use super::Rewrite;
use crate::json::{Members, ObjectWriter, Span, quote};

/// New members of an object that the message does not have yet.
type Fresh<'a> = Vec<(&'a str, Cow<'a, [u8]>)>;

fn set_fresh<'a>(fresh: &mut Fresh<'a>, key: &'a str, value: Cow<'a, [u8]>) {
    match fresh.iter_mut().find(|(name, _)| *name == key) {
        Some(member) => member.1 = value,
        None => fresh.push((key, value)),
    }
}

fn object_text(fresh: &Fresh<'_>) -> Vec<u8> {
    let mut object = ObjectWriter::new();
    for (key, value) in fresh {
        object.raw(key, value);
    }
    object.finish()
}

/// The envelope, its body (`params` or `result`) and the body's `_meta`, where they exist.
#[derive(Debug, Clone)]
struct Layers<'a> {
    rewrite: Rewrite<'a>,
    root: &'a Members,
    body_name: &'static str,
    body: Option<&'a Members>,
    meta: Option<&'a Members>,
    fresh_body: Fresh<'a>,
    fresh_meta: Fresh<'a>,
}

impl<'a> Layers<'a> {
    fn new(
        raw: &'a [u8],
        root: &'a Members,
        body_name: &'static str,
        body: Option<&'a Members>,
        meta: Option<&'a Members>,
    ) -> Self {
        let (fresh_body, fresh_meta) = Default::default();
        Self {
            rewrite: Rewrite::new(raw),
            root,
            body_name,
            body,
            meta,
            fresh_body,
            fresh_meta,
        }
    }

    fn set_body(&mut self, key: &'a str, value: Cow<'a, [u8]>) {
        match self.body {
            Some(body) => self.rewrite.set_member(body, key, value),
            None => set_fresh(&mut self.fresh_body, key, value),
        }
    }

    fn remove_body(&mut self, key: &'a str) {
        match self.body {
            Some(body) => self.rewrite.remove_member(body, key),
            None => self.fresh_body.retain(|(name, _)| *name != key),
        }
    }

    fn set_meta(&mut self, key: &'a str, value: Cow<'a, [u8]>) {
        match self.meta {
            Some(meta) => self.rewrite.set_member(meta, key, value),
            None => set_fresh(&mut self.fresh_meta, key, value),
        }
    }

    fn remove_meta(&mut self, key: &'a str) {
        match self.meta {
            Some(meta) => self.rewrite.remove_member(meta, key),
            None => self.fresh_meta.retain(|(name, _)| *name != key),
        }
    }

    fn is_empty(&self) -> bool {
        self.rewrite.is_empty() && self.fresh_body.is_empty() && self.fresh_meta.is_empty()
    }

    fn finish(&self) -> Bytes {
        if self.fresh_body.is_empty() && self.fresh_meta.is_empty() {
            return self.rewrite.finish();
        }
        let mut layers = self.clone();
        if !layers.fresh_meta.is_empty() {
            let meta = object_text(&layers.fresh_meta);
            layers.set_body("_meta", meta.into());
        }
        if layers.body.is_none() {
            let body = object_text(&layers.fresh_body);
            layers.rewrite.set_member(layers.root, layers.body_name, body);
        }
        layers.rewrite.finish()
    }
}

/// Edits of a request or notification. Made by [`Request::rewrite`](crate::envelope::Request::rewrite).
///
/// Values are raw JSON. `params` and `_meta` are created when they are needed and missing; `_meta` that is no object is
/// replaced. Everything not named here stays byte for byte.
#[derive(Debug, Clone)]
pub struct RequestRewrite<'a>(Layers<'a>);

impl<'a> RequestRewrite<'a> {
    pub(crate) fn new(
        raw: &'a [u8],
        root: &'a Members,
        params: Option<&'a Members>,
        meta: Option<&'a Members>,
    ) -> Self {
        Self(Layers::new(raw, root, "params", params, meta))
    }

    /// Gives the request another id, as raw JSON.
    pub fn id(&mut self, id: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.0.rewrite.set_member(self.0.root, "id", id);
        self
    }

    /// Gives it another method, as plain text.
    pub fn method(&mut self, method: &str) -> &mut Self {
        self.0.rewrite.set_member(self.0.root, "method", quote(method));
        self
    }

    /// Sets `params.<key>` to raw JSON.
    pub fn param(&mut self, key: &'a str, value: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.0.set_body(key, value.into());
        self
    }

    /// Sets `params.<key>` to a string.
    pub fn param_text(&mut self, key: &'a str, text: &str) -> &mut Self {
        self.param(key, quote(text))
    }

    /// Removes `params.<key>`.
    pub fn remove_param(&mut self, key: &'a str) -> &mut Self {
        self.0.remove_body(key);
        self
    }

    /// Sets `params._meta.<key>` to raw JSON.
    pub fn meta(&mut self, key: &'a str, value: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.0.set_meta(key, value.into());
        self
    }

    /// Removes `params._meta.<key>`.
    pub fn remove_meta(&mut self, key: &'a str) -> &mut Self {
        self.0.remove_meta(key);
        self
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edited message.
    pub fn finish(&self) -> Bytes {
        self.0.finish()
    }
}

/// Edits of a response. Made by [`Response::rewrite`](crate::envelope::Response::rewrite).
///
/// Edits of the result do nothing on an error response.
#[derive(Debug, Clone)]
pub struct ResponseRewrite<'a> {
    layers: Layers<'a>,
    has_result: bool,
}

impl<'a> ResponseRewrite<'a> {
    pub(crate) fn new(
        raw: &'a [u8],
        root: &'a Members,
        result: Option<&'a Members>,
        meta: Option<&'a Members>,
    ) -> Self {
        Self {
            layers: Layers::new(raw, root, "result", result, meta),
            has_result: result.is_some(),
        }
    }

    /// Gives the response another id, as raw JSON.
    pub fn id(&mut self, id: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.layers.rewrite.set_member(self.layers.root, "id", id);
        self
    }

    /// Sets `result.<key>` to raw JSON.
    pub fn result_member(&mut self, key: &'a str, value: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        if self.has_result {
            self.layers.set_body(key, value.into());
        }
        self
    }

    /// Removes `result.<key>`.
    pub fn remove_result_member(&mut self, key: &'a str) -> &mut Self {
        self.layers.remove_body(key);
        self
    }

    /// Sets `result._meta.<key>` to raw JSON.
    pub fn result_meta(&mut self, key: &'a str, value: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        if self.has_result {
            self.layers.set_meta(key, value.into());
        }
        self
    }

    /// Removes `result._meta.<key>`.
    pub fn remove_result_meta(&mut self, key: &'a str) -> &mut Self {
        self.layers.remove_meta(key);
        self
    }

    /// Puts `bytes` in the place of `span`, see [`Rewrite::replace`].
    pub fn replace(&mut self, span: Span, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.layers.rewrite.replace(span, bytes);
        self
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The edited message.
    pub fn finish(&self) -> Bytes {
        self.layers.finish()
    }
}
