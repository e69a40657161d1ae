//! What is counted together, as 128 bits.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
};

use gatepost_config::Per;
use gatepost_policy::{Action, Principal};

/// Where a counter is found: a keyed hash of whose it is. Keys are made with random secrets of the process, so nobody can aim
/// at somebody else's counter, and two of the few hundred thousand counters there can be never meet by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl Key {
    /// Another key for each other `nonce`, itself a key.
    pub(super) fn of(self, nonce: Self) -> Self {
        Self {
            high: self.high ^ nonce.high,
            low: self.low ^ nonce.low,
        }
    }
}

/// Makes keys.
#[derive(Debug)]
pub(super) struct Keyed([RandomState; 2]);

impl Keyed {
    pub(super) fn new() -> Self {
        Self([RandomState::new(), RandomState::new()])
    }

    /// The key of what `bytes` name.
    pub(super) fn key(&self, bytes: &[u8]) -> Key {
        let digest = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(bytes);
            hasher.finish()
        };
        Key {
            high: digest(&self.0[0]),
            low: digest(&self.0[1]),
        }
    }
}

/// Whose counter it is: bytes that are equal exactly for equal holders. What is usual has its place here; what is longer is
/// all in `long`.
#[derive(Debug)]
pub(super) struct Holder {
    place: [u8; 256],
    length: usize,
    long: Vec<u8>,
}

impl Holder {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self {
            place: [0; 256],
            length: 0,
            long: Vec::new(),
        }
    }

    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match self.place.get_mut(self.length..end) {
            Some(room) if self.long.is_empty() => {
                room.copy_from_slice(bytes);
                self.length = end;
            }
            _ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.place[..self.length]);
                }
                self.long.extend_from_slice(bytes);
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            &self.place[..self.length]
        } else {
            &self.long
        }
    }
}

/// Who makes a call, from where, to what; what is known of it at the point of asking.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) principal: Option<&'a Principal>,
    pub(super) address: Option<IpAddr>,
    pub(super) action: Option<&'a Action<'a>>,
}

impl Subject<'_> {
    /// Whose counter `per` means. The tenant is part of each, so that no tenant fills another's; but `global` is one for all
    /// of the gate. `None`: nobody's, as the address of somebody at a Unix socket.
    pub(super) fn holder(&self, per: Per) -> Option<Holder> {
        let mut holder = Holder::new();
        let tenant = self.principal.and_then(Principal::tenant);
        let mut part = |bytes: Option<&[u8]>| {
            // The length tells where a part ends, and nothing from an empty text.
            let length = bytes.map_or(u32::MAX, |bytes| {
                u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1)
            });
            holder.add(&length.to_le_bytes());
            holder.add(bytes.unwrap_or_default());
        };
        if per != Per::Global {
            part(tenant.map(str::as_bytes));
        }
        match per {
            Per::Global => part(None),
            Per::Tenant => {
                self.principal?;
            }
            Per::Principal => {
                let principal = self.principal?;
                part(Some(principal.issuer().as_bytes()));
                part(Some(principal.subject().as_bytes()));
            }
            Per::Server => part(Some(self.action?.server.as_bytes())),
            Per::Tool => {
                let action = self.action?;
                part(Some(action.server.as_bytes()));
                part(Some(action.name.as_bytes()));
            }
            Per::Ip => match self.address?.to_canonical() {
                IpAddr::V4(address) => part(Some(&address.octets())),
                // Whoever has one address of IPv6 has at least the 2^64 beside it.
                IpAddr::V6(address) => part(Some(&address.octets()[..8])),
            },
        }
        Some(holder)
    }
}
