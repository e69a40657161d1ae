//! Who is calling.

use std::{fmt, sync::Arc};

use crate::Printable;

/// The issuer of the one principal that exists without a configured identity. It is no URL, so that no identity provider
/// can ever be it.
pub(crate) const LOCAL_ISSUER: &str = "gatepost:local";

/// Who is calling: a subject, the issuer that vouches for it, and the tenant it acts for, if there are tenants. Two subjects
/// of the same name from different issuers are different principals, and so is one subject that acts for two tenants:
/// whatever is kept by principal is thereby kept apart by tenant.
///
/// Having a `Principal` proves nothing; the gate's identity stage says for whom a request was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    issuer: Arc<str>,
    subject: Arc<str>,
    tenant: Option<Arc<str>>,
}

impl Principal {
    /// The principal that `issuer` knows as `subject`.
    pub fn new(issuer: impl Into<Arc<str>>, subject: impl Into<Arc<str>>) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
            tenant: None,
        }
    }

    /// The same principal, acting for `tenant`.
    #[must_use]
    pub fn with_tenant(self, tenant: impl Into<Arc<str>>) -> Self {
        Self {
            tenant: Some(tenant.into()),
            ..self
        }
    }

    /// Whoever can reach a loopback address or a private socket while no identity is configured.
    pub fn local() -> Self {
        Self::new(LOCAL_ISSUER, "local")
    }

    /// Whether this is [`Principal::local`].
    pub fn is_local(&self) -> bool {
        &*self.issuer == LOCAL_ISSUER
    }

    /// Who vouches for the subject.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The subject's name, unique within its issuer.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The tenant it acts for.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Everything that makes this principal the one it is: issuer, subject, tenant. For sealing and storing; whoever joins
    /// them into one text must keep the joints unmistakable, and an absent tenant apart from an empty one.
    pub fn as_key(&self) -> (&str, &str, Option<&str>) {
        (&self.issuer, &self.subject, self.tenant.as_deref())
    }
}

/// For logs: one line, nothing invisible, at most some 390 characters; see [`Printable`]. Not a key: two principals may
/// print alike when their names are very long.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_local() {
            return f.write_str("local");
        }
        write!(f, "{} of {}", Printable(&self.subject), Printable(&self.issuer))?;
        match &self.tenant {
            Some(tenant) => write!(f, " for {}", Printable(tenant)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_prints_on_one_line() {
        assert_eq!(Principal::local().to_string(), "local");
        let ann = Principal::new("https://id.example.com", "ann\nroot");
        assert_eq!(ann.to_string(), r"ann\u{a}root of https://id.example.com");
    }

    #[test]
    fn the_issuer_tells_subjects_apart() {
        assert_ne!(
            Principal::new("https://a", "ann"),
            Principal::new("https://b", "ann")
        );
        assert_ne!(Principal::new("https://a", "local"), Principal::local());
        assert!(!Principal::new("https://a", "local").is_local());
    }

    #[test]
    fn the_tenant_tells_principals_apart() {
        let ann = || Principal::new("https://a", "ann");
        assert_ne!(ann(), ann().with_tenant("acme"));
        assert_ne!(ann().with_tenant("globex"), ann().with_tenant("acme"));
        assert_ne!(ann().with_tenant(""), ann());
        assert_eq!(ann().with_tenant("acme"), ann().with_tenant("acme"));
        assert_eq!(
            ann().with_tenant("acme").as_key(),
            ("https://a", "ann", Some("acme"))
        );
        assert_eq!(
            ann().with_tenant("ac\nme").to_string(),
            r"ann of https://a for ac\u{a}me"
        );
    }
}
