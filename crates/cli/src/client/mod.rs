//! Being a client: `list`, `call`, `read` and `prompt` drive any server through a gate of their own, in this process. So
//! they speak either era and either transport, and exercise the path that everybody's calls take.

pub(crate) mod arguments;
pub(crate) mod content;
pub(crate) mod conversation;
pub(crate) mod notice;
pub(crate) mod remote;
pub(crate) mod target;

pub(crate) use conversation::{Client, Params, with_client};
pub(crate) use target::TargetArgs;
