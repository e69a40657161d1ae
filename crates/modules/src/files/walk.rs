//! Going through a tree of directories without going on for ever.

use std::{
    ffi::OsStr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::root::{Directory, Found, Kind, Root};

/// How deep a walk goes. Each level holds a directory open.
const MAX_DEPTH: usize = 64;
/// How many names one walk looks at.
const MAX_VISITED: usize = 200_000;
/// How long one walk takes.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Why a walk ended before everything was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// As much was found as was asked for.
    Enough,
    /// [`MAX_VISITED`] names were seen.
    Names,
    /// [`MAX_TIME`] has passed.
    Time,
    /// The caller does not want the answer any more.
    Cancelled,
}

// === impl Stop ===

impl Stop {
    /// What to tell the caller.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Enough => "there is more than `limit`; narrow the search or raise the limit",
            Self::Names => "stopped after 200000 names; give a `path` to look in",
            Self::Time => "stopped after 10 seconds; give a `path` to look in or a narrower pattern",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a walk has met.
pub(super) struct Met<'a> {
    /// The directory it is in.
    pub(super) directory: &'a Directory,
    pub(super) name: &'a OsStr,
    /// What it is, or for a link what it leads to.
    pub(super) kind: Kind,
    pub(super) is_link: bool,
    /// 0 for what is in the directory that the walk began with.
    pub(super) depth: usize,
}

/// Goes through everything visible below `directory`, each directory's names in order, what is in a directory right after
/// it. Links are met but not followed into directories, so a walk has no circles.
pub(super) struct Walk<'a> {
    root: &'a Root,
    cancelled: &'a dyn Fn() -> bool,
    until: Instant,
    visited: usize,
    depth: usize,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Root, cancelled: &'a dyn Fn() -> bool) -> Self {
        Self {
            root,
            cancelled,
            until: Instant::now() + MAX_TIME,
            visited: 0,
            depth: MAX_DEPTH,
        }
    }

    /// Goes only so many levels down.
    pub(super) fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.min(MAX_DEPTH);
        self
    }

    /// Shows `visit` everything, until it breaks or a bound is met; `None` if all was seen.
    pub(super) fn run(
        mut self,
        directory: &Directory,
        visit: &mut dyn FnMut(&Met<'_>) -> ControlFlow<Stop>,
    ) -> Option<Stop> {
        self.descend(directory, 0, visit).break_value()
    }

    fn descend(
        &mut self,
        directory: &Directory,
        depth: usize,
        visit: &mut dyn FnMut(&Met<'_>) -> ControlFlow<Stop>,
    ) -> ControlFlow<Stop> {
        // What cannot be read, for it is not ours to read or just went away, has nothing to show.
        let names = directory.names(MAX_VISITED - self.visited).unwrap_or_default();
        for (name, kind) in names {
            self.visited += 1;
            if self.visited >= MAX_VISITED {
                return ControlFlow::Break(Stop::Names);
            }
            if (self.cancelled)() {
                return ControlFlow::Break(Stop::Cancelled);
            }
            if Instant::now() >= self.until {
                return ControlFlow::Break(Stop::Time);
            }
            let is_link = kind == Kind::Link;
            let mut below = None;
            let kind = match kind {
                Kind::Regular => kind,
                Kind::Directory => match self.root.enter(directory, &name) {
                    Ok(Some(entered)) => {
                        below = Some(entered);
                        kind
                    }
                    Ok(None) | Err(_) => continue,
                },
                Kind::Link => match self.root.find(&directory.join(&name)) {
                    Ok(Found::Directory(_)) => Kind::Directory,
                    Ok(Found::Regular(_)) => Kind::Regular,
                    Err(_) => continue,
                },
            };
            visit(&Met {
                directory,
                name: &name,
                kind,
                is_link,
                depth,
            })?;
            if let Some(below) = below
                && depth + 1 < self.depth
            {
                self.descend(&below, depth + 1, visit)?;
            }
        }
        ControlFlow::Continue(())
    }
}
