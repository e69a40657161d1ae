//! Which file a configured program name means, found before anything is started, so that a missing program is a clear
//! answer at once instead of a process that dies.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::SpawnError;

/// Finds the file to execute, the way `execvp` does: a name without a separator is searched on `path`, anything else
/// is a path, relative to `cwd` where one is configured.
///
/// `path` is the server's own `PATH`, not the gate's.
#[cfg(unix)]
pub(crate) fn resolve(
    program: &OsStr,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
) -> Result<PathBuf, SpawnError> {
    /// What shells and `execvp` search when there is no `PATH`.
    const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

    if program.as_encoded_bytes().contains(&b'/') {
        let file = absolute(Path::new(program), cwd);
        return match look_at(&file) {
            Found::Executable => Ok(file),
            Found::Other => Err(SpawnError::NotExecutable {
                program: program.to_owned(),
                path: file,
            }),
            Found::Nothing => Err(SpawnError::NotFound {
                program: program.to_owned(),
                searched: None,
            }),
        };
    }

    let searched = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    // An empty name would find the directories themselves.
    let folders = std::env::split_paths(searched).filter(|_| !program.is_empty());
    for folder in folders {
        let file = absolute(&folder.join(program), cwd);
        match look_at(&file) {
            Found::Executable => return Ok(file),
            Found::Other if refused.is_none() && file.is_file() => refused = Some(file),
            Found::Other | Found::Nothing => {}
        }
    }
    match refused {
        Some(path) => Err(SpawnError::NotExecutable {
            program: program.to_owned(),
            path,
        }),
        None => Err(SpawnError::NotFound {
            program: program.to_owned(),
            searched: Some(searched.to_owned()),
        }),
    }
}

/// Elsewhere the standard library's own search (with `PATHEXT`) is better than one of ours.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
pub(crate) fn resolve(
    program: &OsStr,
    _path: Option<&OsStr>,
    _cwd: Option<&Path>,
) -> Result<PathBuf, SpawnError> {
    Ok(PathBuf::from(program))
}

/// Checks the working directory before the operating system can blame the program for it.
pub(crate) fn check_cwd(program: &OsStr, cwd: Option<&Path>) -> Result<(), SpawnError> {
    let Some(cwd) = cwd else { return Ok(()) };
    let problem = match std::fs::metadata(cwd) {
        Ok(metadata) if metadata.is_dir() => match enter(cwd) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        },
        Ok(_) => std::io::ErrorKind::NotADirectory.into(),
        Err(problem) => problem,
    };
    Err(SpawnError::WorkingDirectory {
        program: program.to_owned(),
        cwd: cwd.to_owned(),
        source: problem,
    })
}

#[cfg(unix)]
fn enter(folder: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(folder, rustix::fs::Access::EXEC_OK)?)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature on every system")]
fn enter(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
enum Found {
    Executable,
    Other,
    Nothing,
}

#[cfg(unix)]
fn look_at(file: &Path) -> Found {
    use std::io::ErrorKind;
    match std::fs::metadata(file) {
        Ok(metadata)
            if metadata.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() =>
        {
            Found::Executable
        }
        Ok(_) => Found::Other,
        Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Found::Nothing
        }
        Err(_) => Found::Other,
    }
}

/// The supervisor already runs in `cwd`, so the path it gets must not be relative to the gate's.
#[cfg(unix)]
fn absolute(file: &Path, cwd: Option<&Path>) -> PathBuf {
    let file = cwd.map_or_else(|| file.to_owned(), |cwd| cwd.join(file));
    std::path::absolute(&file).unwrap_or(file)
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "this is how tests fail")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_name_is_searched_on_the_path_given_past_files_that_may_not_run() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        file(first.path(), "serve", 0o644);
        let good = file(second.path(), "serve", 0o755);
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(resolve(OsStr::new("serve"), Some(&path), None).unwrap(), good);
    }

    #[test]
    fn a_path_is_relative_to_the_servers_working_directory() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(folder.path(), "serve", 0o755);
        let found = resolve(OsStr::new("./serve"), None, Some(folder.path())).unwrap();
        assert_eq!(found.file_name(), good.file_name());
        assert!(found.is_absolute());
    }

    #[test]
    fn what_is_missing_is_named_with_where_it_was_looked_for() {
        let problem = resolve(OsStr::new("no-such-server"), Some(OsStr::new("/nowhere")), None).unwrap_err();
        let text = problem.to_string();
        assert!(
            text.contains("`no-such-server`") && text.contains("(/nowhere)"),
            "{text}"
        );
        let problem = resolve(OsStr::new("/nowhere/serve"), None, None).unwrap_err();
        assert!(matches!(problem, SpawnError::NotFound { searched: None, .. }));
        assert!(matches!(
            resolve(OsStr::new(""), None, None),
            Err(SpawnError::NotFound { .. })
        ));
    }

    #[test]
    fn what_may_not_run_is_told_apart_from_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let plain = file(folder.path(), "serve", 0o644);
        let problem = resolve(plain.as_os_str(), None, None).unwrap_err();
        assert!(matches!(problem, SpawnError::NotExecutable { .. }), "{problem}");
        let problem = resolve(OsStr::new("serve"), Some(folder.path().as_os_str()), None).unwrap_err();
        assert!(matches!(problem, SpawnError::NotExecutable { .. }), "{problem}");
        let problem = resolve(folder.path().as_os_str(), None, None).unwrap_err();
        assert!(matches!(problem, SpawnError::NotExecutable { .. }), "{problem}");
    }

    #[test]
    fn a_bad_working_directory_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let plain = file(folder.path(), "plain", 0o644);
        for cwd in [plain.as_path(), Path::new("/nowhere")] {
            let problem = check_cwd(OsStr::new("serve"), Some(cwd)).unwrap_err().to_string();
            assert!(problem.contains(&cwd.display().to_string()), "{problem}");
        }
        assert!(check_cwd(OsStr::new("serve"), Some(folder.path())).is_ok());
    }
}
