//! Exit codes: what a script learns from `$?`.

/// It worked.
pub(crate) const OK: u8 = 0;
/// It failed, for a reason that has no code of its own.
pub(crate) const FAILURE: u8 = 1;
/// The command line was wrong. Nothing was done. (Also what clap exits with.)
pub(crate) const USAGE: u8 = 2;
/// The configuration is wrong. Nothing was done.
pub(crate) const CONFIGURATION: u8 = 3;
/// The server or endpoint could not be reached, or failed to answer.
pub(crate) const SERVER: u8 = 4;
/// The tool was called and answered that it failed (`isError`).
pub(crate) const TOOL: u8 = 5;
/// `gatepost explain`: what was asked about is not allowed.
pub(crate) const DENIED: u8 = 6;
/// A signal ended it before it was done: 128 + SIGINT, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The end of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    it worked
  1    it failed
  2    the command line is wrong
  3    the configuration is wrong
  4    the server or endpoint cannot be reached, or failed to answer
  5    the tool answered that it failed
  6    it is not allowed (`explain`)
  130  interrupted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        for code in [
            OK,
            FAILURE,
            USAGE,
            CONFIGURATION,
            SERVER,
            TOOL,
            DENIED,
            INTERRUPTED,
        ] {
            assert!(HELP.contains(&format!("\n  {code:<5}")), "{code}");
        }
    }
}
