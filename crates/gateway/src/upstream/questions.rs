//! What the gate asks of a server: in its own name, or in that of a caller with a credential of its own.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_protocol::{
    envelope::{Message, Outcome, Request, Response},
    json::{self, Strictness},
    method::Method,
    version::{Era, Version},
};

use super::{
    Asker, CallError, Cause,
    credential::Presented,
    facts::Facts,
    incoming::response_of,
    outgoing::{AsTask, Outgoing},
    server::Server,
};

impl Server {
    /// Asks a question of the gate's own; `params` is a raw JSON object, for a modern server completed with its `_meta`.
    #[cfg(test)]
    pub(crate) async fn fetch(&self, method: Method, params: &[u8]) -> Result<Response, CallError> {
        self.fetch_as(None, method, params).await
    }

    /// The same, in the name of the owner of `own`.
    pub(crate) async fn fetch_as(
        &self,
        own: Option<&Arc<Presented>>,
        method: Method,
        params: &[u8],
    ) -> Result<Response, CallError> {
        let request = self.question(method, params)?;
        let out = self.owners(own, &request);
        response_of(self.send(&out).await?).await
    }

    /// What the server says of itself to the owner of `own`.
    pub(crate) async fn facts_for(&self, own: &Arc<Presented>) -> Result<Arc<Facts>, CallError> {
        let facts = self
            .greet(Some(own))
            .await
            .map_err(|error| self.cleaned(error, Some(own)))?;
        if facts.era() == Era::Modern {
            let response = self.fetch_as(Some(own), Method::Discover, b"").await?;
            return match response.outcome() {
                Outcome::Result(_) => Ok(Arc::new(Facts::of(facts.version, &response))),
                // It answers what it is asked all the same; only of itself it says nothing.
                Outcome::Error { .. } => Ok(Arc::new(facts.impersonal())),
            };
        }
        let request = self.question(Method::Ping, b"")?;
        let (key, how) = self.key(&self.owners(Some(own), &request), &facts);
        let lease = self
            .lease(&key, how, Some(own))
            .await
            .map_err(|error| self.cleaned(error, Some(own)))?;
        Ok(Arc::clone(&lease.session().facts))
    }

    /// Whether a caller could be let in; greets the server on its behalf.
    pub(crate) async fn reach(&self, asker: Asker<'_>) -> Result<(), CallError> {
        match self.personal(asker)? {
            None => self.facts().await.map(drop),
            Some(own) => self.facts_for(&own).await.map(drop),
        }
    }

    /// The owner of `own` asks, or the gate itself.
    pub(super) fn owners<'a>(
        &'a self,
        own: Option<&'a Arc<Presented>>,
        request: &'a Request,
    ) -> Outgoing<'a> {
        let owner = own.and_then(|own| own.owner.as_ref());
        Outgoing {
            principal: owner.map(|(principal, _)| principal),
            personal: own.cloned(),
            ..self.own(request)
        }
    }

    pub(super) fn question(&self, method: Method, params: &[u8]) -> Result<Request, CallError> {
        let mut raw = Vec::with_capacity(64 + params.len());
        raw.extend_from_slice(br#"{"jsonrpc":"2.0","id":0,"method":"#);
        json::quote_into(&mut raw, method.name());
        raw.extend_from_slice(br#","params":"#);
        raw.extend_from_slice(if params.is_empty() { b"{}" } else { params });
        raw.push(b'}');
        match Message::parse(raw.into(), Strictness::Server) {
            Ok(Message::Request(request)) => Ok(request),
            _ => Err(self
                .context
                .error(Cause::Nonsense("a question that is none".to_owned()), true)),
        }
    }

    /// The gate itself asks: as a legacy client without capabilities, so that translation adds whatever is needed.
    pub(super) fn own<'a>(&'a self, request: &'a Request) -> Outgoing<'a> {
        static NONE: Bytes = Bytes::from_static(b"{}");
        Outgoing {
            request,
            name: None,
            version: Version::LATEST_LEGACY,
            capabilities: &NONE,
            info: Some(&self.info),
            log_level: None,
            conversation: None,
            principal: None,
            personal: None,
            headers: Vec::new(),
            params: Vec::new(),
            repeatable: request
                .known_method()
                .is_some_and(|method| method.facts().repeatable),
            task: AsTask::No,
            input: None,
            call: None,
            wish: None,
        }
    }
}
